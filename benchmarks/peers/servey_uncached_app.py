"""Actions, without a cache of verified tokens."""

from benchmarks.peers.servey_app import ACTIONS, SETTINGS
from servey import Settings, create_app
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.runtime.parts import Parts


def forgetful(settings: Settings) -> JwtAuthorizer:
    return JwtAuthorizer(OneKey(secret_key(settings.jwt_secret_key or "")), remembered=0)


app = create_app(actions=ACTIONS, settings=SETTINGS, parts=Parts(authorizer=forgetful))
