"""The helpers that a project tests itself with."""

import unittest
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

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
    cases = [case.id for case in example_cases(app.runtime.catalog)]
    assert "day-as_json-PUT /days/{on}" in cases
    assert not any("left_out" in case for case in cases)
    found = results(define_test_class(app))
    assert (found.testsRun, found.failures, found.errors) == (len(cases), [], [])
    assert len(cases) == 4 * 4 + 2 + 2 + 2 * 2


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
    assert len(texts) == 2
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
    assert len(results(define_test_class(app)).failures) == 1
    assert results(define_test_class(app, authorization=Authorization("ada"))).wasSuccessful()


def test_a_client_with_a_token():
    app = create_app(actions=ACTIONS, settings=DEV)
    with client(app) as http:
        assert http.get("/actions/guarded").status_code == 401
    with client(app, authorization=Authorization("x", frozenset({"root"}))) as http:
        assert http.get("/actions/guarded").json() == "in"
    assert token_for(app, Authorization()).count(".") == 2


def test_an_app_without_a_secret_says_that_it_can_not_sign():
    from servey import ConfigError

    with pytest.raises(ConfigError, match="set JWT_SECRET_KEY for the tests"):
        token_for(create_app(actions=[day], settings=Settings()), Authorization())


@pytest.mark.parametrize("option", [["--servey-examples"], ["-o", "servey_examples=true"]])
def test_the_pytest_plugin(tmp_path, option):
    (tmp_path / "actions.py").write_text(
        "from servey import *\n"
        "@action(triggers=WEB_GET, examples=(Example('good', {'n': 1}, 2), Example('bad', {'n': 1}, 3)))\n"
        "def double(n: int) -> int:\n    return 2 * n\n"
    )
    done = run("-m", "pytest", "-v", *option, cwd=tmp_path)
    assert "2 failed, 2 passed" in done.stdout, done.stdout + done.stderr
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
    cases = {case.id: case for case in example_cases(app.runtime.catalog) if case.transport == "job"}
    assert set(cases) == {"doubled-once-job", "refuses-never-job", "refuses-wrong-job"}
    cases["doubled-once-job"].check(app)
    cases["refuses-never-job"].check(app)
    with pytest.raises(AssertionError, match="through job: expected 1, got the error 'conflict'"):
        cases["refuses-wrong-job"].check(app)
