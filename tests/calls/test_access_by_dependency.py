"""Dependencies that decide who may call: in OpenAPI, in `servey actions`, and at the start of production."""

from typing import Annotated

import pytest
from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer

from servey import WEB_GET, Authorization, ConfigError, Group, ScopeAccessControl, Settings, action, create_app

DEV, PROD = Settings(env="dev"), Settings(env="prod", jwt_secret_key=None)


def caller(authorization: Authorization) -> str:
    return authorization.subject_id or ""


def deep(name: Annotated[str, Depends(caller)]) -> str:
    return name


def maybe(authorization: Authorization | None) -> str:
    return authorization.subject_id or "" if authorization else ""


def host_user(token: Annotated[str, Depends(OAuth2PasswordBearer("token"))]) -> str:
    return token


@action(triggers=WEB_GET)
def by_depth(name: Annotated[str, Depends(deep)]) -> str:
    return name


@Group(dependencies=[Depends(caller)]).action(triggers=WEB_GET)
def by_group() -> str:
    return "text"


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
def by_scheme(
    name: Annotated[str, Security(host_user, scopes=["read"])], key: Annotated[str, Depends(APIKeyHeader(name="X-Key"))]
) -> str:
    return name + key


@action(triggers=WEB_GET)
def only_scheme(name: Annotated[str, Depends(host_user)]) -> str:
    return name


@action(triggers=WEB_GET)
def optional(name: Annotated[str, Depends(maybe)]) -> str:
    return name


@pytest.mark.parametrize("guarded", [by_depth, by_group])
def test_a_required_authorization_guards_the_action(guarded):
    app = create_app(actions=[guarded], settings=DEV)
    [row] = app.exposures()
    assert row.access == "any valid token"
    operation = app.openapi()["paths"][f"/actions/{guarded.__name__.replace('_', '-')}"]["get"]
    assert [list(each) for each in operation["security"]] == [["OAuth2"]]
    assert {"401", "403"} <= set(operation["responses"])
    with pytest.raises(ConfigError, match="is guarded and there is no key"):
        create_app(actions=[guarded], settings=PROD).runtime.check_settings()


def test_security_schemes_are_shown_and_need_no_key():
    rows = {row.name: row.access for row in create_app(actions=[by_scheme, only_scheme], settings=DEV).exposures()}
    assert rows == {
        "by_scheme": "scope root and OAuth2PasswordBearer (read) and APIKeyHeader",
        "only_scheme": "OAuth2PasswordBearer",
    }
    create_app(actions=[only_scheme], settings=PROD).runtime.check_settings()


def test_an_optional_token_is_optional_in_the_document():
    app = create_app(actions=[optional], settings=DEV)
    assert app.openapi()["paths"]["/actions/optional"]["get"]["security"] == [{}, {"OAuth2": []}]
    create_app(actions=[optional], settings=PROD).runtime.check_settings()
