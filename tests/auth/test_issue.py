"""`issue_token`: a token from the app's own key."""

import math

import pytest
from jose import jwt

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    ConfigError,
    ServeyError,
    Settings,
    action,
    create_app,
    issue_token,
)
from servey.testing import client

SECRET = "a-secret-of-more-than-32-bytes-for-tests"


@action(triggers=WEB_POST)
def sign_in(name: str) -> str:
    return issue_token(name, scopes=["reader", "writer"], expires_in=600, claims={"plan": "gold"})


@action(triggers=WEB_GET)
def who(authorization: Authorization) -> Authorization:
    return authorization


def app_of(**settings):
    return create_app(actions=[sign_in, who], settings=Settings(**{"env": "dev", "jwt_secret_key": SECRET, **settings}))


@pytest.mark.parametrize(
    "settings", [{}, {"jwt_issuer": "us", "jwt_audience": "shop"}, {"env": "prod"}, {"jwt_secret_key": None}]
)
def test_the_app_accepts_its_own_tokens(settings):
    with client(app_of(**settings)) as http:
        token = http.post("/actions/sign-in", json={"name": "ada"}).json()
        caller = http.get("/actions/who", headers={"Authorization": f"Bearer {token}"}).json()
        assert (caller["subject_id"], sorted(caller["scopes"])) == ("ada", ["reader", "writer"])
        claims = jwt.get_unverified_claims(token)
        assert (claims["exp"] - claims["iat"], claims["plan"]) == (600, "gold")


def test_outside_a_call_it_uses_the_running_app():
    with client(app_of()) as http:
        headers = {"Authorization": f"Bearer {issue_token('bob')}"}
        assert http.get("/actions/who", headers=headers).json()["subject_id"] == "bob"
        assert jwt.get_unverified_claims(issue_token("bob", scopes="root"))["scope"] == "root"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"subject": ""}, "subject"),
        ({"subject": 7}, "subject"),
        ({"subject": None}, "subject"),
        ({"scopes": ["reader root"]}, "scope 'reader root'"),
        ({"scopes": [""]}, "scope ''"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": -5}, "expires_in"),
        ({"expires_in": math.inf}, "expires_in"),
        ({"expires_in": math.nan}, "expires_in"),
        ({"claims": {"sub": "root"}}, "sub"),
        ({"claims": {"scp": "root", "exp": 9999999999}}, "exp, scp"),
    ],
)
def test_what_is_refused(arguments, said):
    with client(app_of()), pytest.raises(ServeyError, match=said):
        issue_token(**{"subject": "ada", **arguments})


def test_an_app_without_a_secret_cannot_sign():
    app = create_app(actions=[sign_in], settings=Settings(env="prod"))
    with client(app), pytest.raises(ConfigError, match="set JWT_SECRET_KEY"):
        issue_token("ada")
