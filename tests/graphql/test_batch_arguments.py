"""Batch functions take the field's arguments and dependencies: one call for each batch and set of arguments."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header

from servey import (
    WEB_GET,
    Authorization,
    BatchInvoker,
    ConfigError,
    Context,
    Forbidden,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
)
from servey.testing import client, token_for

DEV = Settings(env="dev", jwt_secret_key="a secret of more than thirty-two bytes")
calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


class Session:
    is_open = True


def open_session() -> Iterator[Session]:
    session = Session()
    calls.append("open")
    yield session
    session.is_open = False
    calls.append("close")


SessionOf = Annotated[Session, Depends(open_session)]


def guard(x_closed: Annotated[bool, Header()] = False) -> None:
    calls.append("guard")
    if x_closed:
        raise Forbidden("closed")


async def comments_of(
    keys: list[int], limit: int, session: SessionOf, context: Context, caller: Authorization | None
) -> list[list[str]]:
    assert session.is_open and context.via == "graphql"
    calls.append((keys, limit, caller.subject_id if caller else None))
    return [[f"{key}-{number}" for number in range(limit)] for key in keys]


def sizes_of(keys: list[int], unit: str = "cm", session: Session = Depends(open_session)) -> list[str]:  # noqa: B008
    assert session.is_open
    calls.append((keys, unit))
    return [f"{key} {unit}" for key in keys]


def tagged(keys: list[int], given: list[str]) -> list[list[str]]:
    given += map(str, keys)
    return [given]


async def may_see(authorization: Authorization | None, params: dict[str, Any]) -> bool:
    article: Article = params["self"]
    await asyncio.sleep(0.001 * article.id)
    return article.id != 2


def by_id(article: "Article") -> list[int]:
    return [article.id]


@dataclass
class Article:
    id: int

    @action(batch_invoker=BatchInvoker(comments_of, max_batch_size=3, arg_extractor=by_id))
    async def comments(self, checked: Annotated[None, Depends(guard)], limit: int = 2) -> list[str]:
        raise AssertionError("the batch function is called")

    @action(batch_invoker=BatchInvoker(sizes_of, arg_extractor=by_id))
    def size(self, unit: str) -> str:
        raise AssertionError("the batch function is called")

    @action(
        batch_invoker=BatchInvoker(sizes_of, arg_extractor=by_id),
        access_control=lambda authorization, params: params["self"].id != 2 and params["unit"] != "secret",
    )
    def checked_size(self, unit: str = "m") -> str | None:
        raise AssertionError("the batch function is called")

    @action(batch_invoker=BatchInvoker(tagged, max_batch_size=1, arg_extractor=by_id))
    def tags(self, given: list[str]) -> list[str]:
        raise AssertionError("the batch function is called")

    @action(batch_invoker=BatchInvoker(sizes_of, arg_extractor=by_id), access_control=may_see)
    def seen_size(self) -> str | None:
        raise AssertionError("the batch function is called")


@action(triggers=WEB_GET)
def articles(ids: list[int]) -> list[Article]:
    return [Article(each) for each in ids]


@pytest.fixture
def ask():
    app = create_app(actions=[articles], settings=DEV)
    token = token_for(app, Authorization("ada", frozenset()))

    with client(app) as http:

        def ask(query: str, **headers: str) -> Any:
            return http.post("/graphql", json={"query": query}, headers=headers).json()

        ask.token = {"Authorization": f"Bearer {token}"}
        yield ask


def test_one_call_for_each_set_of_arguments(ask):
    query = "{ articles(ids: [1, 2]) { comments  one: comments(limit: 1)  two: comments(limit: 2)  again: comments } }"
    answer = ask(query, **ask.token)
    assert answer["data"]["articles"][1] == {
        "comments": ["2-0", "2-1"],
        "one": ["2-0"],
        "two": ["2-0", "2-1"],
        "again": ["2-0", "2-1"],
    }
    made = [call for call in calls if isinstance(call, tuple)]
    assert sorted(made, key=repr) == [([1, 2], 1, "ada"), ([1, 2], 2, "ada")]
    # The guard of the method runs, and each call has a session of its own.
    assert calls.count("guard") == calls.count("open") == calls.count("close") == 2


def test_a_large_batch_is_called_in_chunks(ask):
    ask("{ articles(ids: [1, 2, 3, 4, 1]) { comments(limit: 1) } }")
    made = [call for call in calls if isinstance(call, tuple)]
    assert sorted(made) == [([1, 2, 3], 1, None), ([4], 1, None)]  # they run at the same time


def test_the_guard_of_the_method_refuses_the_batch(ask):
    answer = ask("{ articles(ids: [1, 2]) { comments } }", **{"X-Closed": "true"})
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"forbidden"}
    assert not [call for call in calls if isinstance(call, tuple)]


def test_a_plain_def_takes_required_arguments_in_a_thread(ask):
    assert ask('{ articles(ids: [3]) { size(unit: "mm") } }')["data"] == {"articles": [{"size": "3 mm"}]}
    assert "is required" in ask("{ articles(ids: [3]) { size } }")["errors"][0]["message"]


def test_a_rule_that_looks_at_the_parameters_is_asked_for_each_parent(ask):
    answer = ask('{ articles(ids: [1, 2]) { checkedSize  secret: checkedSize(unit: "secret") } }')
    assert answer["data"]["articles"] == [{"checkedSize": "1 m", "secret": None}, {"checkedSize": None, "secret": None}]
    assert len(answer["errors"]) == 3
    assert [call for call in calls if isinstance(call, tuple)] == [([1], "m")]


def test_a_call_may_change_its_arguments(ask):
    answer = ask('{ articles(ids: [1, 2]) { tags(given: ["a"]) } }')
    assert answer["data"]["articles"] == [{"tags": ["a", "1"]}, {"tags": ["a", "2"]}]


def test_parents_whose_rule_waits_join_one_batch(ask):
    answer = ask("{ articles(ids: [1, 2, 3, 4]) { seenSize } }")
    assert [each["seenSize"] for each in answer["data"]["articles"]] == ["1 cm", None, "3 cm", "4 cm"]
    assert [error["path"] for error in answer["errors"]] == [["articles", 1, "seenSize"]]
    assert [call for call in calls if isinstance(call, tuple)] == [([1, 3, 4], "cm")]
    assert ask("{ articles(ids: []) { seenSize } }") == {"data": {"articles": []}}


def test_overrides_reach_batch_functions():
    app = create_app(actions=[articles], settings=DEV)
    replaced = Session()
    app.dependency_overrides[open_session] = lambda: replaced
    with client(app) as http:
        answer = http.post("/graphql", json={"query": "{ articles(ids: [1]) { comments } }"}).json()
    assert "errors" not in answer
    assert "open" not in calls


def test_a_batch_function_that_needs_a_caller_refuses_the_anonymous():
    async def of_caller(keys: list[int], caller: Authorization) -> list[str]:
        return [f"{caller.subject_id} {key}" for key in keys]

    @dataclass
    class Thing:
        id: int

        @action(batch_invoker=BatchInvoker(of_caller, arg_extractor=lambda thing: [thing.id]))
        def mine(self) -> str | None: ...

    @action(triggers=WEB_GET)
    def thing() -> Thing:
        return Thing(1)

    app = create_app(actions=[thing], settings=DEV)
    with client(app) as http:
        refused = http.post("/graphql", json={"query": "{ thing { mine } }"}).json()
    assert refused["errors"][0]["extensions"]["code"] == "unauthenticated"
    with client(app, authorization=Authorization("ada", frozenset())) as http:
        answer = http.post("/graphql", json={"query": "{ thing { mine } }"}).json()
    assert answer["data"] == {"thing": {"mine": "ada 1"}}


def unfit(function: Any) -> Any:
    @dataclass
    class Thing:
        id: int

        @action(batch_invoker=BatchInvoker(function), access_control=ScopeAccessControl("root"))
        def name(self, lang: str = "en") -> str: ...

    @action(triggers=WEB_GET)
    def thing() -> Thing:
        return Thing(1)

    return thing


async def with_stranger(keys: list[int], limit: int) -> list[str]:
    return []


async def with_anything(keys: list[int], session, depth: int) -> list[str]:
    return []


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (with_stranger, "its batch function takes 'limit', which is not a parameter of the method"),
        (with_anything, "its batch function with_anything: parameter 'session' has no annotation"),
    ],
)
def test_a_parameter_that_nothing_fills_is_told_at_start(function, problem):
    with pytest.raises(ConfigError, match=problem):
        create_app(actions=[unfit(function)], settings=DEV)


def test_a_required_parameter_that_the_batch_function_does_not_take_is_told_at_start():
    @dataclass
    class Thing:
        id: int

        @action(batch_invoker=BatchInvoker(lambda keys: keys))
        def name(self, lang: str) -> str: ...

    @action(triggers=WEB_GET)
    def thing() -> Thing:
        return Thing(1)

    with pytest.raises(ConfigError, match="parameter 'lang' is required, but its batch function does not take it"):
        create_app(actions=[thing], settings=DEV)
