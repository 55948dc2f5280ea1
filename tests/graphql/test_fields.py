"""GraphQL: nested fields, their context, errors and order; which actions are fields."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, Header, HTTPException, Request, Response

from servey import (
    WEB_GET,
    WEB_POST,
    ActionError,
    BatchInvoker,
    ConfigError,
    Context,
    NotFound,
    ScopeAccessControl,
    WebTrigger,
    WebTriggerMethod,
    action,
)
from servey.cli.main import run as run_command
from servey.core.context import current_context
from tests.graphql.fields_app import ADA, BOB, CALLS
from tests.graphql.graphql_client import app_of, graphql_client


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


async def session() -> AsyncIterator[str]:
    CALLS.append("open")
    yield "session"
    CALLS.append("close")


@dataclass
class Stats:
    value: int

    @action
    async def factorial(self) -> int:
        """All of them multiplied."""
        CALLS.append(f"factorial {self.value}")
        return 1 if self.value < 2 else self.value * (await Stats(self.value - 1).factorial())

    @action
    def divisors(self, limit: int = 3, log: str = "-") -> list["Stats"]:
        return [Stats(number) for number in range(1, self.value + 1) if self.value % number == 0][:limit]

    @action
    async def stored(self, session: Annotated[str, Depends(session)]) -> str:
        CALLS.append(f"stored {self.value}")
        return session

    @action(access_control=ScopeAccessControl("root"))
    async def secret(self) -> str | None:
        return f"secret {self.value}"

    @action(timeout=0.05)
    async def slow(self) -> str | None:
        await asyncio.sleep(30)
        return None


@action(triggers=WEB_GET)
def stats(value: int) -> Stats:
    return Stats(value)


@action(triggers=WEB_GET)
def many(count: int) -> list[Stats]:
    return [Stats(number) for number in range(count)]


def test_nested_actions_run_only_when_they_are_selected():
    with graphql_client(stats) as ask:
        assert ask.data("{ stats(value: 3) { value } }") == {"stats": {"value": 3}}
        assert CALLS == []
        assert ask.data("{ stats(value: 3) { factorial } }") == {"stats": {"factorial": 6}}
    assert CALLS == ["factorial 3", "factorial 2", "factorial 1"]


def test_nested_actions_take_arguments_and_nest_further():
    with graphql_client(stats) as ask:
        query = "{ stats(value: 6) { divisors(limit: 2) { value factorial } all: divisors { value } } }"
        assert ask.data(query)["stats"] == {
            "divisors": [{"value": 1, "factorial": 1}, {"value": 2, "factorial": 2}],
            "all": [{"value": 1}, {"value": 2}, {"value": 3}],
        }
        assert ask.error("{ stats(value: 6) { divisors(limit: 99999999999) { value } } }")["code"] == "invalid_document"


def test_each_call_has_its_own_dependencies_which_close_after_the_response():
    with graphql_client(many) as ask:
        assert ask.data("{ many(count: 2) { stored } }") == {"many": [{"stored": "session"}] * 2}
    assert sorted(CALLS[:4]) == ["open", "open", "stored 0", "stored 1"]  # type: ignore[type-var]
    assert CALLS[4:] == ["close", "close"]


def named(name: str) -> Any:
    async def dependency() -> AsyncIterator[str]:
        CALLS.append(f"open {name}")
        yield name
        CALLS.append(f"close {name}")

    return Depends(dependency)


@action(triggers=WEB_POST)
async def first(held: Annotated[str, named("first")]) -> str:
    return held


@action(triggers=WEB_POST)
async def second(held: Annotated[str, named("second")]) -> str:
    return held


def test_the_calls_of_an_operation_close_in_reverse_order():
    with graphql_client(first, second) as ask:
        assert ask.data("mutation { first second }") == {"first": "first", "second": "second"}
    assert CALLS == ["open first", "open second", "close second", "close first"]


def test_nested_access_control():
    with graphql_client(many) as ask:
        query = "{ many(count: 2) { value secret } }"
        anonymous = ask(query)
        assert anonymous["data"] == {"many": [{"value": 0, "secret": None}, {"value": 1, "secret": None}]}
        assert [error["extensions"]["code"] for error in anonymous["errors"]] == ["unauthenticated"] * 2
        assert [error["path"] for error in anonymous["errors"]] == [["many", 0, "secret"], ["many", 1, "secret"]]
        assert ask.error(query, caller=ADA)["code"] == "forbidden"
        assert ask.data(query, caller=BOB)["many"][1] == {"value": 1, "secret": "secret 1"}
        assert ask.error(query, authorization="Bearer bad")["code"] == "unauthenticated"
        assert "errors" not in ask("{ many(count: 1) { value } }", authorization="Bearer bad")


def test_nested_timeout():
    with graphql_client(stats) as ask:
        error = ask.error("{ stats(value: 1) { value slow } }")
    assert (error["code"], error["path"], error["data"]) == (
        "timeout",
        ["stats", "slow"],
        {"stats": {"value": 1, "slow": None}},
    )


def test_errors_have_the_codes_of_rest(caplog):
    @action(triggers=WEB_POST)
    def fail(how: str) -> str | None:
        raise {
            "missing": NotFound("no such"),
            "own": ActionError(418, "teapot", "short and stout"),
            "http": HTTPException(402, "pay first"),
            "odd": RuntimeError("db://user:pw@host"),
        }[how]

    with graphql_client(fail) as ask:
        caplog.set_level(logging.ERROR)
        found = {
            how: ask.error("mutation($h: String!) { f: fail(how: $h) }", {"h": how})
            for how in ("missing", "own", "http")
        }
        assert {how: (each["code"], each["message"], each["path"]) for how, each in found.items()} == {
            "missing": ("not_found", "no such", ["f"]),
            "own": ("teapot", "short and stout", ["f"]),
            "http": ("http_402", "pay first", ["f"]),
        }
        assert not [record for record in caplog.records if record.exc_info]
        caplog.clear()
        odd = ask('mutation { fail(how: "odd") }')
    assert odd["errors"][0]["extensions"]["code"] == "internal"
    assert "pw" not in str(odd)
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert caplog.records[0].request_id == ask.last.headers["x-request-id"]  # type: ignore[attr-defined]


def test_injected_values_come_from_the_http_request():
    @action(triggers=WEB_GET)
    async def seen(
        request: Request,
        response: Response,
        background: BackgroundTasks,
        x_color: Annotated[str, Header()] = "none",
        context: Context = None,  # type: ignore[assignment]
    ) -> str:
        response.headers["x-made"] = "yes"
        background.add_task(CALLS.append, "after")
        return f"{request.method} {x_color} {context.via}"

    with graphql_client(seen) as ask:
        assert ask.data("{ seen }", **{"x-color": "red"}) == {"seen": "POST red graphql"}
        assert ask.last.headers["x-made"] == "yes"
    assert CALLS == ["after"]


def test_concurrent_fields_have_separate_contexts():
    @action(triggers=WEB_GET)
    async def mine(number: int) -> bool:
        before = current_context()
        await asyncio.sleep(0.01)
        return current_context() is before and before.request_id != "" and before.deadline is not None

    with graphql_client(mine) as ask:
        asked = " ".join(f"a{number}: mine(number: {number})" for number in range(20))
        assert set(ask.data("{" + asked + "}").values()) == {True}


def test_queries_run_concurrently_and_mutations_in_order():
    running: list[int] = []

    @action(triggers=(WEB_GET, WEB_POST))
    async def step(number: int) -> int:
        running.append(number)
        most = len(running)
        await asyncio.sleep(0.01)
        running.remove(number)
        return most

    with graphql_client(step) as ask:
        asked = "{ a: step(number: 1) b: step(number: 2) c: step(number: 3) }"
        assert max(ask.data(asked).values()) == 3
        assert ask.data(f"mutation {asked}") == {"a": 1, "b": 1, "c": 1}


def test_plain_functions_do_not_block_each_other():
    meet = threading.Barrier(2, timeout=5)

    @action(triggers=WEB_GET)
    def wait_for_the_other(number: int) -> int:
        return meet.wait()

    with graphql_client(wait_for_the_other) as ask:
        answer = ask.data("{ a: waitForTheOther(number: 1) b: waitForTheOther(number: 2) }")
    assert sorted(answer.values()) == [0, 1]


def test_servey_actions_lists_fields_and_json_types(tmp_path, monkeypatch, capsys):
    (tmp_path / "actions.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Annotated\n"
        "from fastapi import UploadFile, Response\n"
        "from servey import WEB_GET, WEB_POST, action\n\n\n"
        "@dataclass\nclass Stats:\n    value: int\n    extra: dict[str, int]\n\n"
        "    @action\n    def twice(self) -> int:\n        return self.value * 2\n\n\n"
        "@action(triggers=WEB_GET)\ndef stats() -> Stats:\n    return Stats(1, {})\n\n\n"
        "@action(triggers=WEB_POST)\ndef search(query: int | str) -> int:\n    return 1\n\n\n"
        "@action(triggers=WEB_POST)\ndef upload(file: UploadFile) -> int:\n    return 1\n\n\n"
        "@action(triggers=WEB_GET)\ndef page() -> Response:\n    return Response()\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "actions", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit):
        run_command(["actions"])
    shown = capsys.readouterr().out
    for line in (
        "GraphQL query stats",
        "GraphQL field Stats.twice",
        "(GraphQL: Stats.extra is JSON, because a dict has no fixed fields)",
        "GraphQL mutation search",
        "(GraphQL: parameter 'query' is JSON, because GraphQL has no input unions)",
        "(not in GraphQL: it needs the body parameter 'file')",
        "(not in GraphQL: it returns a Response)",
    ):
        assert line in shown


def test_a_batched_action_with_a_required_parameter_stops_the_start():
    @dataclass
    class Odd:
        id: int

        @action(batch_invoker=BatchInvoker(lambda keys: keys))
        def rated(self, by: str) -> int: ...

    @action(triggers=WEB_GET)
    def odd() -> Odd:
        return Odd(1)

    with pytest.raises(ConfigError, match="parameter 'by' is required, but its batch function does not take it"):
        app_of(odd)


def test_http_methods_decide_between_query_and_mutation():
    found = {}
    for method in WebTriggerMethod:

        @action(name=f"by_{method.value.lower()}", triggers=WebTrigger(method))
        def act() -> str:
            return "x"

        found[method.value] = app_of(act).runtime
    from servey.graphql.schema.fields import fields_of

    kinds = {method: next(iter(fields_of(runtime).places.values()))[0].split()[0] for method, runtime in found.items()}
    assert kinds == {method: "query" if method in ("GET", "HEAD", "OPTIONS") else "mutation" for method in kinds}
