"""Actions, with each token verified anew."""

from benchmarks.peers.servey_app import ACTIONS, SETTINGS
from servey import Settings, create_app
from servey.parts import Parts
from servey.tokens import JwtAuthorizer, OneKey, secret_key


def forgetful(settings: Settings) -> JwtAuthorizer:
    return JwtAuthorizer(OneKey(secret_key(settings.jwt_secret_key or "")), remembered=0)


app = create_app(actions=ACTIONS, settings=SETTINGS, parts=Parts(authorizer=forgetful))
