"""Who may call: rules, how they join, when they run, what they answer."""

from collections.abc import Mapping
from typing import Annotated, Any

import pytest

from servey import (
    ALLOW_ALL,
    ALLOW_NONE,
    WEB_POST,
    Authorization,
    ConfigError,
    Context,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
)
from servey.core.access import required_scopes, rule_text
from servey.testing import client

DEV = Settings(env="dev")
NOBODY, ADA, ROOT = None, Authorization("ada", frozenset({"read"})), Authorization("r", frozenset({"root", "read"}))


def is_ada(authorization: Authorization | None) -> bool:
    return authorization is not None and authorization.subject_id == "ada"


async def is_owner(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    return authorization is not None and authorization.subject_id == params["owner"]


root, read, write = ScopeAccessControl("root"), ScopeAccessControl("read"), ScopeAccessControl("write")
both = ScopeAccessControl(("read", "root"), require_all=True)


@pytest.mark.parametrize(
    ("rule", "nobody", "ada", "boss"),
    [
        (ALLOW_ALL, 200, 200, 200),
        (ALLOW_NONE, 401, 403, 403),
        (root, 401, 403, 200),
        (ScopeAccessControl(["write", "read"]), 401, 200, 200),
        (both, 401, 403, 200),
        (is_ada, 401, 200, 403),
        (is_owner, 401, 200, 403),
        (root | is_ada, 401, 200, 200),
        (root & is_ada, 401, 403, 403),
        (root | is_owner, 401, 200, 200),
        (read & is_owner, 401, 200, 403),
        (read & is_owner & is_ada, 401, 200, 403),
        (write | (read & is_owner), 401, 200, 403),
        (ALLOW_ALL & root, 401, 403, 200),
        (ALLOW_NONE | ALLOW_ALL, 200, 200, 200),
        (is_ada | root, 401, 200, 200),
    ],
    ids=lambda value: rule_text(value) if not isinstance(value, int) else None,
)
def test_rules(rule, nobody, ada, boss):
    @action(triggers=WEB_POST, access_control=rule)
    async def act(owner: str) -> str:
        return "done"

    app = create_app(actions=[act], settings=DEV)
    for authorization, expected in ((NOBODY, nobody), (ADA, ada), (ROOT, boss)):
        with client(app, authorization=authorization) as http:
            answer = http.post("/actions/act", json={"owner": "ada"})
        assert answer.status_code == expected
        if expected == 401:
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json() == {"detail": "Not authenticated", "code": "unauthenticated"}
        if expected == 403:
            assert answer.json() == {"detail": "Forbidden", "code": "forbidden"}


def test_functions_join_with_rules_on_either_side():
    assert rule_text(is_ada | root) == "(is_ada | scope root)"
    assert rule_text((root & is_owner) | read) == "((scope root & is_owner) | scope read)"
    assert required_scopes((root & is_owner) | ScopeAccessControl(("a", "root"))) == ("root", "a")
    assert repr(both) == "scope read and root"


def test_a_rule_without_a_scope_is_refused():
    for scopes in ("", (), ("a", "")):
        with pytest.raises(ConfigError):
            ScopeAccessControl(scopes)


def test_authorization_comes_before_validation_and_rules_on_parameters_after():
    @action(triggers=WEB_POST, access_control=read & is_owner)
    async def act(owner: str, number: int) -> None: ...

    app = create_app(actions=[act], settings=DEV)
    with client(app) as http:
        assert http.post("/actions/act", json={"number": "x"}).status_code == 401
        assert http.post("/actions/act", content=b"{", headers={"Content-Type": "text/plain"}).status_code == 401
    with client(app, authorization=Authorization("eve", frozenset({"read"}))) as http:
        assert http.post("/actions/act", json={"number": "x"}).status_code == 422
        assert http.post("/actions/act", json={"number": 1, "owner": "ada"}).status_code == 403
    with client(app, authorization=Authorization("eve")) as http:
        assert http.post("/actions/act", json={"number": "x"}).status_code == 403


@action(triggers=WEB_POST)
async def optional(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None


@action(triggers=WEB_POST)
def needed(who: Authorization, extra: Annotated[str, "words"] = "") -> str | None:
    return who.subject_id


@action(triggers=WEB_POST)
async def untouched(context: Context) -> str:
    return context.via


@action(triggers=WEB_POST)
async def asks(context: Context) -> str | None:
    return context.authorization.subject_id if context.authorization else None


@action(triggers=WEB_POST)
async def open_to_all() -> int:
    return 1


@pytest.mark.parametrize(
    ("token", "answers"),
    [
        (None, {"optional": None, "needed": 401, "untouched": "rest", "asks": None, "open-to-all": 1}),
        ("good", {"optional": "ada", "needed": "ada", "untouched": "rest", "asks": "ada", "open-to-all": 1}),
        ("bad", {"optional": 401, "needed": 401, "untouched": "rest", "asks": 401, "open-to-all": 1}),
    ],
)
def test_injection(token, answers):
    from servey.testing import token_for

    app = create_app(actions=[optional, needed, untouched, asks, open_to_all], settings=DEV)
    headers = {}
    if token is not None:
        good = token_for(app, ADA)
        headers = {"Authorization": f"bEARER {good if token == 'good' else good[:-2]}"}
    with client(app) as http:
        for name, expected in answers.items():
            # What a client says of its own authorization is a parameter that no one asked for.
            forged = {"authorization": {"subject_id": "eve", "scopes": ["root"]}, "who": {"subject_id": "eve"}}
            answer = http.post(f"/actions/{name}", json=forged, headers=headers)
            assert (answer.status_code if isinstance(expected, int) and expected > 1 else answer.json()) == expected


def test_a_token_that_is_needed_is_asked_for_before_anything_is_read():
    @action(triggers=WEB_POST)
    async def act(number: int, who: Authorization) -> None: ...

    with client(create_app(actions=[act], settings=DEV)) as http:
        for sent in ({"json": {"number": "x"}}, {"content": b"{", "headers": {"Content-Type": "text/plain"}}):
            answer = http.post("/actions/act", **sent)
            assert (answer.status_code, answer.json()["detail"]) == (401, "Not authenticated")


def test_other_schemes_are_no_token():
    app = create_app(actions=[optional, needed], settings=DEV)
    with client(app) as http:
        basic = {"Authorization": "Basic YTpi"}
        assert http.post("/actions/optional", headers=basic).json() is None
        assert http.post("/actions/needed", headers=basic).status_code == 401


def test_two_tokens_are_none_that_is_valid():
    from servey.testing import token_for

    app = create_app(actions=[needed], settings=DEV)
    token = f"Bearer {token_for(app, ADA)}"
    with client(app) as http:
        answer = http.post("/actions/needed", headers=[("Authorization", token), ("Authorization", token)])
    assert answer.status_code == 401


def test_an_authorization_checks():
    from servey import Forbidden
    from servey.core.access import Authorization as Same

    assert Same is Authorization
    assert ADA.has_scope("read") and not ADA.has_scope("root")
    assert ADA.has_any_scope(("root", "read")) and not ADA.has_any_scope(())
    assert ROOT.has_all_scopes(("root", "read")) and not ADA.has_all_scopes(("root", "read"))
    ADA.check_scope("read")
    ADA.check_valid_at()
    for check in (
        lambda: ADA.check_scope("root"),
        lambda: ADA.check_any_scope(["x"]),
        lambda: ADA.check_all_scopes(["read", "x"]),
    ):
        with pytest.raises(Forbidden):
            check()


def test_production_refuses_a_guarded_action_without_a_key():
    @action(triggers=WEB_POST, access_control=root)
    async def act() -> None: ...

    with pytest.raises(ConfigError, match=r"action 'act' \(.*\): is guarded .* set JWT_SECRET_KEY"):
        with client(create_app(actions=[act], settings=Settings())):
            pass
    with client(create_app(actions=[act], settings=Settings(jwt_secret_key="q7Zr-2mVx_9KfTbLw3uYc8NsHd5aJe0G"))):
        pass
    with pytest.raises(ConfigError, match="JWT_SECRET_KEY has 31 bytes; HS256 needs 32"):
        create_app(actions=[act], settings=Settings(jwt_secret_key="k" * 31))
