"""Callers whom an authorizer of API Gateway has verified."""

import json
from contextlib import closing
from typing import Any

import pytest

from servey import (
    WEB_GET,
    Authorization,
    ConfigError,
    Context,
    Parts,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
    issue_token,
)
from servey.aws import build_handler

SEEN: list[str | None] = []


@action(triggers=WEB_GET, access_control=ScopeAccessControl("read"))
async def whoami(context: Context, authorization: Authorization) -> list[Any]:
    SEEN.append(context.token)
    return [authorization.subject_id, sorted(authorization.scopes), authorization.expire_at]


@action(triggers=WEB_GET)
async def enter() -> str:
    return issue_token("ada", scopes=["read"])


@pytest.fixture
def handler():
    app = create_app(
        actions=[whoami, enter],
        settings=Settings(env="prod", aws_authorizer="users", jwt_secret_key="0123456789abcdef" * 2),
    )
    with closing(build_handler(app)) as handler:
        yield handler


def request(authorizer: Any = None, **headers: str) -> dict[str, Any]:
    context = {"http": {"method": "GET", "path": "/actions/whoami"}, "stage": "$default"}
    return {
        "version": "2.0",
        "rawPath": "/actions/whoami",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": context if authorizer is None else {**context, "authorizer": authorizer},
    }


def rest(authorizer: Any) -> dict[str, Any]:
    return {
        "httpMethod": "GET",
        "path": "/actions/whoami",
        "headers": {},
        "requestContext": {"stage": "dev", "authorizer": authorizer},
    }


CLAIMS = {"sub": "ada", "scope": "read write", "exp": "4102444800"}
ADA = ["ada", ["read", "write"], "2100-01-01T00:00:00Z"]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (request({"jwt": {"claims": CLAIMS, "scopes": None}}), ADA),
        (request({"jwt": {"claims": CLAIMS}}, authorization="Bearer of-another"), ADA),
        (request({"jwt": {"claims": {"sub": "ada", "scp": "[read write]", "exp": "4102444800"}}}), ADA),
        (rest({"claims": {**CLAIMS, "exp": "Fri Jan 01 00:00:00 UTC 2100"}}), [*ADA[:2], None]),
        (request({"lambda": CLAIMS}), ADA),
        (rest({"principalId": "ada", "scope": "read", "integrationLatency": 1}), ["ada", ["read"], None]),
    ],
    ids=["JWT", "another token", "list of scopes", "Cognito", "Lambda", "Lambda of a REST API"],
)
def test_the_claims_of_the_gateway_are_the_authorization(handler, event, expected):
    for _ in range(2):
        answer = handler(event, None)
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, expected)


@pytest.mark.parametrize("authorizer", [None, {}, {"iam": {"userArn": "arn"}}, {"jwt": "x"}, "text"])
def test_without_claims_a_token_is_needed(handler, authorizer):
    assert handler(request(authorizer), None)["statusCode"] == 401
    assert handler(request(authorizer, authorization="Bearer x"), None)["statusCode"] == 401


def test_missing_scopes_are_forbidden(handler):
    assert handler(request({"jwt": {"claims": {"sub": "ada"}}}), None)["statusCode"] == 403


def test_expired_claims_are_refused(handler):
    assert handler(request({"jwt": {"claims": {**CLAIMS, "exp": "1000"}}}), None)["statusCode"] == 401


def test_the_claims_are_those_of_one_request(handler):
    handler(request({"jwt": {"claims": CLAIMS}}), None)
    assert SEEN[-1]
    assert handler(request(None, authorization=f"Bearer {SEEN[-1]}"), None)["statusCode"] == 401


def test_the_app_still_issues_tokens_of_its_own(handler):
    answer = handler({**request(None), "rawPath": "/actions/enter"}, None)
    assert answer["statusCode"] == 200
    assert handler(request(None, authorization=f"Bearer {json.loads(answer['body'])}"), None)["statusCode"] == 200


def test_the_scheme_of_tokens_does_not_matter():
    settings = Settings(
        env="prod", aws_authorizer="users", jwt_secret_key="0123456789abcdef" * 2, token_schemes=("Token",)
    )
    with closing(build_handler(create_app(actions=[whoami], settings=settings))) as handler:
        assert handler(request({"jwt": {"claims": CLAIMS}}), None)["statusCode"] == 200


def test_a_token_source_would_not_see_the_claims():
    class Cookie:
        vary = ("Cookie",)

        def token_of(self, headers: Any, cookies: Any) -> str | None:
            return cookies.get("session")

    settings = Settings(env="prod", aws_authorizer="users", jwt_secret_key="0123456789abcdef" * 2)
    app = create_app(actions=[whoami], settings=settings, parts=Parts(token_source=lambda settings: Cookie()))
    with pytest.raises(ConfigError, match="SERVEY_AWS_AUTHORIZER needs the default part token_source"):
        build_handler(app)


def test_claims_are_ignored_unless_they_are_asked_for():
    app = create_app(actions=[whoami], settings=Settings(env="prod", jwt_secret_key="0123456789abcdef" * 2))
    with closing(build_handler(app)) as handler:
        assert handler(request({"jwt": {"claims": CLAIMS}}), None)["statusCode"] == 401
