"""Verified tokens are cached, and odd claims are refused."""

import time
from typing import Any

import pytest

from servey import WEB_GET, Authorization, Settings, action, create_app
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.core.access import AuthorizationError
from servey.testing import client
from tests.auth.signing import SECRET, claims, forged, hs256, in_seconds, verify


class Counted(JwtAuthorizer):
    """Counts the tokens whose signature it looks at."""

    verified = 0

    async def _verify(self, token: str) -> Any:
        self.verified += 1
        return await super()._verify(token)


class Moving:
    """A clock, and keys, that a test can change."""

    def __init__(self) -> None:
        self.now = time.time()
        self.key = secret_key(SECRET)

    async def key_for(self, header: Any) -> Any:
        return self.key


def test_a_verified_token_is_remembered_until_it_expires():
    moving = Moving()
    made = Counted(moving, clock=lambda: moving.now, leeway=0)
    token = hs256(exp=in_seconds(100), nbf=in_seconds(0))
    assert verify(made, token) is verify(made, token)
    assert made.verified == 1
    moving.now += 101
    with pytest.raises(AuthorizationError, match="expired"):
        verify(made, token)
    moving.now -= 201
    with pytest.raises(AuthorizationError, match="not valid yet"):
        verify(made, token)


def test_nothing_is_remembered_of_a_token_once_its_key_is_another():
    moving = Moving()
    made = Counted(moving)
    token = hs256()
    verify(made, token)
    moving.key = secret_key("another-secret-of-more-than-32-bytes!!")
    with pytest.raises(AuthorizationError):
        verify(made, token)
    moving.key = secret_key(SECRET)
    assert verify(made, token).subject_id == "ada"
    assert made.verified == 3


def test_only_good_tokens_are_remembered_and_only_so_many():
    made = Counted(OneKey(secret_key(SECRET)), remembered=3)
    tokens = [hs256(sub=f"s{number}") for number in range(4)]
    for token in tokens:
        verify(made, token)
    verify(made, tokens[1])  # the last one that was used
    verify(made, hs256(sub="new"))
    assert made.verified == 5
    verify(made, tokens[1])
    assert made.verified == 5
    verify(made, tokens[2])
    assert made.verified == 6
    for _ in range(2):
        with pytest.raises(AuthorizationError):
            verify(made, tokens[0][:-2] + "xx")
    assert made.verified == 8
    long = hs256(more="x" * 3000)
    verify(made, long)
    verify(made, long)
    assert made.verified == 10


def test_remembering_can_be_left_off():
    made = Counted(OneKey(secret_key(SECRET)), remembered=0)
    token = hs256()
    verify(made, token)
    verify(made, token)
    assert made.verified == 2


@pytest.mark.parametrize(
    "odd",
    [
        {"nbf": -62135596801},
        {"nbf": -1e11},
        {"nbf": 1e11 + 1},
        {"nbf": 1e300},
        {"nbf": 10**30},
        {"nbf": float("nan")},
        {"nbf": float("inf")},
        {"nbf": None},
        {"nbf": "0"},
        {"nbf": []},
        {"iat": -1e11},
        {"exp": 1e300},
        {"exp": {}},
        {"sub": "\ud800"},
        {"sub": 5},
        {"scope": "a \udfff"},
        {"scope": {"a": 1}},
        {"scope": ..., "scopes": ["\ud800"]},
        {"aud": {"a": 1}},
        {"iss": ["x"]},
    ],
    ids=str,
)
def test_odd_claims_are_401(odd):
    @action(triggers=WEB_GET)
    async def who(authorization: Authorization) -> str | None:
        return authorization.subject_id

    made = create_app(actions=[who], settings=Settings(jwt_secret_key=SECRET, jwt_issuer="me"))
    token = forged({"alg": "HS256"}, claims(**{"iss": "me", **odd}), SECRET.encode())
    with client(made) as http:
        good = forged({"alg": "HS256"}, {**claims(), "iss": "me", "nbf": 0}, SECRET.encode())
        assert http.get("/actions/who", headers={"Authorization": f"Bearer {good}"}).status_code == 200
        assert http.get("/actions/who", headers={"Authorization": f"Bearer {token}"}).status_code == 401
