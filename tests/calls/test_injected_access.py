"""An `Authorization` or a `Context` comes from the call, however it is annotated and however deep it is; never from input."""

import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, NewType, Optional, TypeVar, Union

import pytest
from fastapi import Body, Depends, Header, Query, Security
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypeAliasType

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    ConfigError,
    Context,
    Settings,
    TtlCacheControl,
    action,
    create_app,
)
from servey.core.params import wanted_of
from servey.testing import client, token_for

DEV = Settings(env="dev")
FORGED = {"subject_id": "eve", "scopes": ["root"]}


async def from_the_app() -> str:
    return "the app's"


T = TypeVar("T")
Who = TypeAliasType("Who", Authorization)
WhoAgain = TypeAliasType("WhoAgain", Who)
MaybeText = TypeAliasType("MaybeText", "Authorization | None")
Maybe = TypeAliasType("Maybe", T | None, type_params=(T,))
Caller = NewType("Caller", Authorization)
User = TypeAliasType("User", Annotated[str, Depends(from_the_app)])
UserAgain = TypeAliasType("UserAgain", User)

REQUIRED: dict[str, Any] = {
    "plain": Authorization,
    "alias": Who,
    "alias_of_alias": WhoAgain,
    "new_type": Caller,
    "text": "Authorization",
    "annotated": Annotated[WhoAgain, "a note"],
    "header": Annotated[Authorization, Header()],
    "body": Annotated[Authorization, Body()],
    "query": Annotated[Authorization, Query()],
    "depends": Annotated[Authorization, Depends()],
    "depends_on_class": Annotated[Authorization, Depends(Authorization)],
    "union": Authorization | str,
}
OPTIONAL: dict[str, Any] = {
    "optional": Authorization | None,
    "optional_text": Optional["Authorization"],
    "optional_alias": MaybeText,
    "generic_alias": Maybe[Authorization],
    "generic_alias_of_alias": Maybe[WhoAgain],
    "optional_new_type": Caller | None,
}
NOT_FOR_FASTAPI = ("query", "optional_text", "optional_alias")
"""FastAPI itself refuses these in a dependency, when the app is built."""
SPELLINGS = REQUIRED | OPTIONAL


def subject(who: Any) -> str | None:
    return None if who is None else str(who.subject_id)


def directly(annotation: Any) -> Callable[..., Any]:
    async def call(who: annotation) -> str | None:
        return subject(who)

    return call


def in_a_function(annotation: Any) -> Callable[..., Any]:
    def current_user(who: annotation) -> str | None:
        return subject(who)

    return used(current_user)


def deeper(annotation: Any) -> Callable[..., Any]:
    async def current(who: annotation) -> Any:
        return who

    async def current_user(current: Annotated[Any, Depends(current)]) -> str | None:
        return subject(current)

    return used(current_user)


def in_a_class(annotation: Any) -> Callable[..., Any]:
    class Service:
        def __init__(self, who: annotation) -> None:
            self.user = subject(who)

    async def current_user(service: Annotated[Service, Depends()]) -> str | None:
        return service.user

    return used(current_user)


def in_an_object(annotation: Any) -> Callable[..., Any]:
    class Check:
        async def __call__(self, who: annotation) -> str | None:
            return subject(who)

    return used(Check())


def in_a_partial(annotation: Any) -> Callable[..., Any]:
    def current_user(unused: int, who: annotation) -> str | None:
        return subject(who)

    return used(functools.partial(current_user, 1))


def in_a_generator(annotation: Any) -> Callable[..., Any]:
    async def current_user(who: annotation) -> AsyncIterator[str | None]:
        yield subject(who)

    return used(current_user)


def used(dependency: Any) -> Callable[..., Any]:
    async def call(user: Annotated[str | None, Security(dependency)]) -> str | None:
        return user

    return call


PLACES = [directly, in_a_function, deeper, in_a_class, in_an_object, in_a_partial, in_a_generator]
ACTIONS = {
    f"{place.__name__}_{spelling}": (place, annotation, spelling in REQUIRED)
    for place in PLACES
    for spelling, annotation in SPELLINGS.items()
    if place is directly or spelling not in NOT_FOR_FASTAPI
}


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app(
        actions=[
            action(name=name, triggers=[WEB_GET, WEB_POST])(place(annotation))
            for name, (place, annotation, _) in ACTIONS.items()
        ],
        settings=DEV,
    )


@pytest.fixture(scope="module")
def http(app):
    with client(app) as opened:
        yield opened


@pytest.mark.parametrize("name", ACTIONS)
def test_it_is_the_callers_own(app, http, name):
    path = f"/actions/{name.replace('_', '-')}"
    needed = ACTIONS[name][2]
    forged: Any = {
        "json": {"who": FORGED, "user": FORGED, "service": FORGED, **FORGED},
        "params": {"who": "eve", **FORGED},
    }
    for method in ("GET", "POST"):
        found = http.request(method, path, **(forged if method == "POST" else {"params": forged["params"]}))
        assert (found.status_code, found.json().get("code") if needed else found.json()) == (
            (401, "unauthenticated") if needed else (200, None)
        )
        ada = {"Authorization": f"Bearer {token_for(app, Authorization('ada'))}"}
        assert http.request(method, path, headers=ada).json() == "ada"
        assert http.request(method, path, headers={"Authorization": "Bearer bad"}).status_code == 401


@pytest.mark.parametrize("place", PLACES[1:], ids=lambda each: each.__name__)
@pytest.mark.parametrize("spelling", NOT_FOR_FASTAPI)
def test_what_fastapi_cannot_read_is_refused_at_start(place, spelling):
    with pytest.raises(ConfigError, match="FastAPI cannot inject its dependencies"):
        create_app(actions=[action(name="show", triggers=WEB_GET)(place(SPELLINGS[spelling]))], settings=DEV)


@pytest.mark.parametrize("name", ACTIONS)
def test_documents_show_no_input_for_it_and_count_it_as_security(app, name):
    for operation in app.openapi()["paths"][f"/actions/{name.replace('_', '-')}"].values():
        assert "requestBody" not in operation
        assert not operation.get("parameters")
        assert operation["security"]


def test_the_token_comes_before_the_other_parameters():
    async def current_user(who: Authorization) -> str | None:
        return subject(who)

    @action(triggers=WEB_POST)
    async def save(number: int, user: Annotated[str, Depends(current_user)]) -> str:
        return user

    with client(create_app(actions=[save], settings=DEV)) as http:
        assert http.post("/actions/save", content=b"{broken").status_code == 401


@pytest.mark.parametrize("annotation", [User, UserAgain, Annotated[UserAgain, "a note"]], ids=range(3))
@pytest.mark.parametrize("nested", [False, True])
def test_an_alias_of_a_dependency_is_not_read_from_input(annotation, nested):
    async def outer(user: annotation) -> str:
        return user

    wanted = Annotated[str, Depends(outer)] if nested else annotation

    @action(triggers=WEB_POST)
    async def show(user: wanted) -> str:
        return user

    with client(create_app(actions=[show], settings=DEV)) as http:
        assert http.post("/actions/show", json={"user": "forged"}).json() == "the app's"


@dataclass
class Holder:
    who: Authorization


class Model(BaseModel):
    who: Authorization | None = None


class OfContext(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    context: Context | None = None


INSIDE = [Holder, Model, OfContext, list[Authorization], dict[str, WhoAgain], Holder | int]
HIDDEN = [Annotated[str, Depends(from_the_app)] | None, Optional[UserAgain], list[User]]  # noqa: UP045


@pytest.mark.parametrize("annotation", [*INSIDE, *HIDDEN], ids=range(len(INSIDE + HIDDEN)))
@pytest.mark.parametrize("nested", [False, True])
def test_a_type_that_hides_it_is_refused_at_start(annotation, nested):
    async def outer(inside: annotation) -> None: ...

    wanted = Annotated[None, Depends(outer)] if nested else annotation

    @action(triggers=WEB_POST)
    async def show(inside: wanted) -> None: ...

    with pytest.raises(ConfigError, match=r"'inside'.*(never comes from a client|has Depends inside a type)"):
        create_app(actions=[show], settings=DEV)


def test_an_annotation_that_cannot_be_resolved_is_refused():
    async def outer(who: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    @action(triggers=WEB_POST)
    async def show(done: Annotated[None, Depends(outer)]) -> None: ...

    with pytest.raises(ConfigError, match="the annotation of one of their parameters cannot be resolved"):
        create_app(actions=[show], settings=DEV)


def test_an_override_receives_it_too():
    async def original() -> str | None:
        return "original"

    async def fake(who: Authorization | None) -> str | None:
        return subject(who)

    @action(triggers=WEB_POST)
    async def show(user: Annotated[str | None, Depends(original)]) -> str | None:
        return user

    app = create_app(actions=[show], settings=DEV)
    app.dependency_overrides[original] = fake
    with client(app) as http:
        assert http.post("/actions/show", json={"who": FORGED}).json() is None
    with client(app, authorization=Authorization("ada")) as http:
        assert http.post("/actions/show", json={"who": FORGED}).json() == "ada"


class Staff(Authorization):
    """What a project's own authorizer returns."""


class StaffAuthorizer:
    async def authorize(self, token: str) -> Authorization:
        return Staff(token) if token.startswith("staff") else Authorization(token)


@pytest.mark.parametrize("place", PLACES, ids=lambda each: each.__name__)
def test_a_subclass_is_what_the_authorizer_returns_or_an_error(place, caplog):
    app = create_app(actions=[action(name="show", triggers=WEB_POST)(place(Staff))], settings=DEV)
    app.runtime.authorizer = StaffAuthorizer()
    with client(app) as http:
        assert http.post("/actions/show", json={"who": FORGED}).status_code == 401
        assert http.post("/actions/show", headers={"Authorization": "Bearer staff-ada"}).json() == "staff-ada"
        assert http.post("/actions/show", headers={"Authorization": "Bearer bob"}).status_code == 500
    assert "is annotated Staff, and the app's authorizer returned Authorization" in caplog.text


def test_a_context_in_a_dependency_is_the_calls_own():
    Current = TypeAliasType("Current", Context)

    async def request_id(context: Current) -> str:
        assert context.authorization is None
        return context.request_id

    @action(triggers=WEB_POST)
    async def show(context: Current, found: Annotated[str, Depends(request_id)]) -> bool:
        return context.request_id == found

    with client(create_app(actions=[show], settings=DEV)) as http:
        assert http.post("/actions/show", json={"context": {}}, headers={"X-Request-ID": "mine"}).json() is True


def test_production_needs_a_key_for_a_token_that_a_dependency_requires():
    async def current_user(who: Authorization) -> str | None:
        return subject(who)

    @action(triggers=WEB_POST)
    async def show(user: Annotated[str, Depends(current_user)]) -> str:
        return user

    app = create_app(actions=[show], settings=Settings(env="prod"))
    with pytest.raises(ConfigError, match="is guarded and there is no key"), client(app):
        pass
    assert app.exposures()[0].access == "any valid token"


def test_results_that_depend_on_the_caller_by_a_dependency_are_cached_for_each():
    calls: list[str | None] = []

    async def current_user(who: Authorization | None) -> str | None:
        return subject(who)

    def made(private: bool) -> Any:
        @action(triggers=WEB_GET, cache_control=TtlCacheControl(600, private=private))
        async def show(user: Annotated[str | None, Depends(current_user)]) -> str | None:
            calls.append(user)
            return user

        return create_app(actions=[show], settings=DEV)

    app = made(private=True)
    with client(app) as http:
        for caller in (None, "ada", "bob", "ada"):
            token = {} if caller is None else {"Authorization": f"Bearer {token_for(app, Authorization(caller))}"}
            assert http.get("/actions/show", headers=token).json() == caller
    assert calls == [None, "ada", "bob"]
    with pytest.raises(ConfigError, match="private=False"):
        made(private=False)


def test_a_generic_alias_keeps_the_parameters_that_it_is_not_given():
    Pair = TypeAliasType("Pair", Union[T, "Authorization", None], type_params=(T,))
    found = wanted_of(Pair[int])
    assert found is not None
    assert found.classes == (Authorization,)
    assert not found.required
