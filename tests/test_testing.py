"""Tests of `servey.testing` and the pytest plugin."""

import asyncio
import unittest
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest
from fastapi import Header, Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    Conflict,
    Context,
    Example,
    FixedRateTrigger,
    NotFound,
    Retry,
    ScopeAccessControl,
    Settings,
    WebTrigger,
    action,
    create_app,
)
from servey.testing import client, define_test_class, example_cases, token_for
from tests.serving import run

DEV = Settings(env="dev")


@dataclass
class Day:
    on: date
    notes: list[str]

    @action(triggers=WEB_GET, examples=(Example("shout", {"self": {"on": "2026-01-01", "notes": ["a"]}}, ["A"]),))
    def shout(self) -> list[str]:
        return [note.upper() for note in self.notes]


@action(
    triggers=(WEB_GET, WEB_POST, WebTrigger("PUT", "/days/{on}")),
    examples=(
        Example("as_json", {"on": "2026-01-02", "notes": ["a b", "&"]}, {"on": "2026-01-02", "notes": ["a b", "&"]}),
        Example("as_objects", {"on": date(2026, 1, 2)}, Day(date(2026, 1, 2), [])),
        Example("refused", {"on": "1999-01-01"}, error="not_found"),
        Example("unfit", {"on": "noday"}, error="invalid_params"),
        Example("left_out", {"on": "2026-01-02"}, "never compared", include_in_tests=False),
    ),
)
def day(on: date, notes: list[str] | None = None) -> Day:
    if on.year < 2000:
        raise NotFound("too long ago")
    return Day(on, notes or [])


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"), examples=(Example("in", {}, "in"),))
async def guarded() -> str:
    return "in"


@action(triggers=WEB_GET, examples=(Example("three", {"upto": 3}, [0, 1, 2]), Example("none", {"upto": 0}, [])))
async def count(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


ACTIONS = [day, guarded, count]


def results(cls: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(cls).run(result)
    return result


def test_every_example_runs_through_every_transport():
    app = create_app(actions=ACTIONS, settings=DEV)
    cases = [case.id for case in example_cases(app)]
    assert "day-as_json-PUT /days/{on}" in cases
    assert not any("left_out" in case for case in cases)
    found = results(define_test_class(app))
    assert (found.testsRun, found.failures, found.errors) == (len(cases), [], [])
    # Examples times transports: day (call, 3 routes, query and mutation, job), shout, guarded, count (a stream: no job).
    assert len(cases) == 4 * 7 + 3 + 4 + 2 * 3


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            Example("wrong", {"on": "2026-01-02"}, {"on": "2026-01-03", "notes": []}),
            "expected {'on': '2026-01-03', 'notes': []}, got",
        ),
        (Example("no_error", {"on": "2026-01-02"}, error="not_found"), "expected the error 'not_found', got {'on'"),
        (Example("other_error", {"on": "noday"}, error="not_found"), "got the error 'invalid_params'"),
        (Example("an_error", {"on": "1999-01-01"}, None), "got the error 'not_found' (too long ago)"),
    ],
)
def test_a_failure_names_everything(example, message):
    broken = action(name="day_again", triggers=WEB_GET, examples=(example,))(_plain_day)
    found = results(define_test_class(create_app(actions=[broken], settings=DEV)))
    texts = [text for _, text in found.failures + found.errors]
    assert len(texts) == 4
    assert all(f"example '{example.name}' of action 'day_again' through" in text for text in texts)
    assert all(message in text for text in texts)


def _plain_day(on: date, notes: list[str] | None = None) -> dict[str, Any] | None:
    if on.year < 2000:
        raise NotFound("too long ago")
    return {"on": str(on), "notes": notes or []}


def test_a_rule_on_parameters_wants_to_be_told_who_calls():
    def is_ada(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
        return authorization is not None and authorization.subject_id == params["name"]

    @action(triggers=WEB_GET, access_control=is_ada, examples=(Example("own", {"name": "ada"}, "ada"),))
    async def own(name: str, context: Context) -> str | None:
        return context.authorization.subject_id if context.authorization else name

    app = create_app(actions=[own], settings=DEV)
    assert len(results(define_test_class(app)).failures) == 3
    assert results(define_test_class(app, authorization=Authorization("ada"))).wasSuccessful()


def test_a_client_with_a_token():
    app = create_app(actions=ACTIONS, settings=DEV)
    with client(app) as http:
        assert http.get("/actions/guarded").status_code == 401
    with client(app, authorization=Authorization("x", frozenset({"root"}))) as http:
        assert http.get("/actions/guarded").json() == "in"
    assert token_for(app, Authorization()).count(".") == 2


def test_an_app_without_a_secret_says_that_it_cannot_sign():
    from servey import ConfigError

    with pytest.raises(ConfigError, match="set JWT_SECRET_KEY for the tests"):
        token_for(create_app(actions=[day], settings=Settings()), Authorization())


@pytest.mark.parametrize("option", [["--servey-examples"], ["-o", "servey_examples=true"]])
def test_the_pytest_plugin(tmp_path, option):
    (tmp_path / "actions.py").write_text(
        "from servey import *\n"
        "@action(triggers=WEB_GET, examples=(Example('good', {'n': 1}, 2), Example('bad', {'n': 1}, 3)))\n"
        "def double(n: int) -> int:\n    return 2 * n\n",
        encoding="utf-8",
    )
    done = run("-m", "pytest", "-v", *option, cwd=tmp_path)
    assert "4 failed, 4 passed" in done.stdout, done.stdout + done.stderr
    assert "double-good-call PASSED" in done.stdout
    assert "example 'bad' of action 'double' through GET /actions/double: expected 3, got 2" in done.stdout
    assert run("-m", "pytest", cwd=tmp_path).returncode == 5


@action(triggers=FixedRateTrigger(60), examples=(Example("once", params={"n": 2}, result=4),))
def doubled(n: int = 1) -> int:
    return n * 2


@action(retry=Retry(), examples=(Example("never", error="conflict"), Example("wrong", result=1)))
def refuses() -> int:
    raise Conflict


def test_what_jobs_call_is_tested_by_a_job_too():
    app = create_app(actions=[doubled, refuses], settings=Settings(env="dev"))
    cases = {case.id: case for case in example_cases(app) if case.transport == "job"}
    assert set(cases) == {"doubled-once-job", "refuses-never-job", "refuses-wrong-job"}
    cases["doubled-once-job"].check(app)
    cases["refuses-never-job"].check(app)
    with pytest.raises(AssertionError, match="through job: expected 1, got the error 'conflict'"):
        cases["refuses-wrong-job"].check(app)


# ------------------------------------------------------------------------------------------------- real transports


class Colour(Enum):
    red = "#f00"
    blue = "#00f"


class Tile(BaseModel):
    at: date
    colour: Colour = Colour.red
    price: Decimal = Decimal("0.10")
    next_tile: "Tile | None" = None


@dataclass
class Wall:
    tiles: list[Tile]
    by_name: dict[str, int]


@dataclass
class Door:
    width: int


@action(
    triggers=WEB_POST,
    examples=(
        Example(
            "as_json",
            {"first_tile": {"at": "2026-01-01", "next_tile": {"at": "2026-01-02", "colour": "#00f"}}, "by": "#00f"},
            {
                "tiles": [
                    {"at": "2026-01-01", "next_tile": {"at": "2026-01-02", "colour": "#00f"}},
                    {"at": "2026-01-01"},
                ],
                "by_name": {"a-b": 1},
            },
        ),
        Example(
            "as_objects", {"first_tile": Tile(at=date(2026, 1, 1))}, Wall([Tile(at=date(2026, 1, 1))] * 2, {"a-b": 1})
        ),
        Example("unfit", {"first_tile": {"at": "never"}}, error="invalid_params"),
        Example("left_out", {}, error="invalid_params"),
    ),
)
def build_wall(first_tile: Tile, by: Colour = Colour.red) -> Wall:
    return Wall([first_tile, Tile(at=date(2026, 1, 1))], {"a-b": 1})


@action(triggers=WEB_GET, examples=(Example("door", {"n": 1}, Door(1)), Example("wall", {"n": 0}, Wall([], {}))))
def either(n: int) -> Door | Wall:
    return Door(n) if n else Wall([], {})


@action(triggers=WEB_GET, examples=(Example("none", {}, None), Example("some", {"n": 2}, [[Door(2)]])))
def maybe(n: int | None = None) -> list[list[Door]] | None:
    return None if n is None else [[Door(n)]]


@action(triggers=WEB_GET, examples=(Example("by_agent", {}, "nobody"),))
def agent(user_agent: Annotated[str, Header(alias="x-agent")] = "nobody") -> str:
    return user_agent


def test_types_of_every_shape_pass_through_graphql():
    app = create_app(actions=[build_wall, either, maybe, agent], settings=DEV)
    cases = [case for case in example_cases(app) if case.transport.startswith("GraphQL")]
    assert len(cases) == 4 + 2 + 2 + 1
    for case in cases:
        case.check(app)


def test_a_wrong_example_fails_through_graphql():
    wrong = Wall([Tile(at=date(2026, 1, 1), colour=Colour.blue)] * 2, {"a-b": 1})
    broken = action(name="wall_again", triggers=WEB_POST, examples=(Example("wrong", {}, wrong),))(_wall)
    app = create_app(actions=[broken], settings=DEV)
    (case,) = (case for case in example_cases(app) if case.transport == "GraphQL mutation wallAgain")
    with pytest.raises(AssertionError, match="through GraphQL mutation wallAgain: expected .*'colour': 'blue'.*'red'"):
        case.check(app)


def _wall() -> Wall:
    return Wall([Tile(at=date(2026, 1, 1))] * 2, {"a-b": 1})


def test_every_transport_runs_inside_the_lifespan_of_the_app():
    opened: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        opened.append("shop")
        yield
        opened.clear()

    @action(triggers=WEB_GET, examples=(Example("open", {}, ["shop"]),))
    async def what_is_open() -> list[str]:
        return list(opened)

    @action(triggers=WEB_GET, examples=(Example("all", {}, ["shop"]),))
    async def stream_open() -> AsyncIterator[str]:
        for each in opened:
            yield each

    app = create_app(actions=[what_is_open, stream_open], settings=DEV, lifespan=lifespan)
    cases = example_cases(app)
    assert [case.transport for case in cases] == [
        "call", "GET /actions/what-is-open", "GraphQL query whatIsOpen", "job",
        "call", "GET /actions/stream-open", "GraphQL subscription streamOpen",
    ]  # fmt: skip
    for case in cases:
        case.check(app)
    assert opened == []


def test_examples_keep_the_apps_own_settings(monkeypatch):
    monkeypatch.setenv("JWT_SECRET_KEY", "a-secret-of-at-least-32-bytes-for-tests")

    @action(triggers=WEB_GET, access_control=ScopeAccessControl("root"), examples=(Example("shut", {}, 1),))
    async def shut() -> int:
        return 1

    app = create_app(actions=[shut])
    for case in example_cases(app):
        case.check(app)


def test_a_job_calls_with_the_rights_of_its_caller():
    @action(triggers=WEB_GET, access_control=ScopeAccessControl("root"), examples=(Example("who", {}, "example"),))
    async def who_counts(context: Context) -> str | None:
        return context.authorization.subject_id if context.authorization and not context.trusted else "trusted"

    app = create_app(actions=[who_counts], settings=DEV)
    (job,) = (case for case in example_cases(app) if case.transport == "job")
    job.check(app)
    with pytest.raises(AssertionError, match="got the error 'forbidden'"):
        job.check(app, Authorization("bob"))


def test_no_schedule_runs_while_an_example_is_a_job():
    runs: list[int] = []

    @action(triggers=FixedRateTrigger(0.5), examples=(Example("once", {}, 1),))
    async def tick() -> int:
        runs.append(1)
        await asyncio.sleep(0.6)  # longer than the interval
        return len(runs)

    app = create_app(actions=[tick], settings=DEV)
    (job,) = (case for case in example_cases(app) if case.transport == "job")
    job.check(app)
    assert app.runtime.services


def test_what_needs_a_request_runs_over_http_only():
    @action(triggers=WebTrigger("HEAD"), examples=(Example("path", {}, "x"),))
    def head_only() -> str:
        return "x"

    @action(triggers=WEB_GET, examples=(Example("path", {}, "/actions/needs-request"),))
    def needs_request(request: Request) -> str:
        return (
            "/actions/needs-request"
            if request.method == "GET"
            else request.url.path.replace("graphql", "actions/needs-request")
        )

    app = create_app(actions=[head_only, needs_request], settings=DEV)
    cases = example_cases(app)
    assert [case.transport for case in cases] == [
        "call", "GraphQL query headOnly", "job",
        "GET /actions/needs-request", "GraphQL query needsRequest",
    ]  # fmt: skip
    for case in cases:
        case.check(app)


def test_an_example_of_a_streaming_response_runs_on_each_transport():
    @action(triggers=WEB_GET, examples=(Example("lines", result="one\ntwo\n"),))
    def lines() -> StreamingResponse:
        return StreamingResponse(iter(["one\n", "two\n"]), media_type="text/plain")

    app = create_app(actions=[lines], settings=DEV)
    case = define_test_class(app)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (result.errors, result.failures, result.testsRun > 1) == ([], [], True)
