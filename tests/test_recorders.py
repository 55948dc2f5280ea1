"""`enqueued`, `published`, `async_client` and set-up hooks of `servey.testing`."""

import asyncio
import unittest
from datetime import date
from typing import Annotated

import pytest
from fastapi import Depends

from servey import (
    WEB_POST,
    Authorization,
    Conflict,
    Context,
    Example,
    ServeyError,
    Settings,
    action,
    background_action_channel,
    create_app,
    webhook_event_channel,
    websocket_event_channel,
)
from servey.testing import async_client, client, define_test_class, enqueued, published
from tests.serving import run, wait_until

DEV = Settings(env="dev")
done: list[str] = []
news = websocket_event_channel("news", date)


@action
def send(to: str, on: date) -> None:
    done.append(f"{to} {on}")


@action
def note(on: date) -> None: ...


noted = background_action_channel(note, name="noted")
hook = webhook_event_channel("hook", "https://127.0.0.1:9/", date)


@action(triggers=WEB_POST)
async def order(context: Context, fails: bool = False) -> None:
    await context.enqueue(send, {"to": "ada", "on": date(2026, 1, 2)}, delay=0, key="once", on_success=True)
    await context.enqueue(send, {"to": "bob", "on": "2026-01-03"}, delay=3600)
    for channel in (news, noted, hook):
        await channel.publish(date(2026, 1, 4), on_success=True)
    if fails:
        raise Conflict("no")


APP = create_app(actions=[order, send], channels=[news, noted, hook], settings=DEV)


def test_jobs_are_recorded_and_run():
    done.clear()
    with client(APP, authorization=Authorization("u1")) as http:
        with enqueued(APP) as jobs, enqueued(APP) as inner:
            assert http.post("/actions/order", json={}).status_code == 200
            assert http.post("/actions/order", json={"fails": True}).status_code == 409
        assert inner == jobs
        assert [(job.action, dict(job.params), job.delay) for job in jobs] == [
            ("send", {"to": "bob", "on": "2026-01-03"}, 3600),
            ("send", {"to": "ada", "on": date(2026, 1, 2)}, 0),
            ("note", {"on": date(2026, 1, 4)}, 0),
            ("send", {"to": "bob", "on": "2026-01-03"}, 3600),
        ]
        assert jobs[0].authorization is not None
        assert jobs[0].authorization.subject_id == "u1"
        assert http.get(f"/jobs/{jobs[0].id}").json()["state"] == "queued"
        wait_until(lambda: done == ["ada 2026-01-02"], "the job ran")
        with enqueued(APP) as jobs:
            assert http.post("/actions/order", json={}).status_code == 200
        assert [job.params["to"] for job in jobs if job.action == "send"] == ["bob"]  # the other key was used before


def test_events_of_every_kind_of_channel_are_recorded():
    with (
        client(APP) as http,
        published(APP, news) as live,
        published(APP, noted) as jobs,
        published(APP, hook) as hooks,
    ):
        assert http.post("/actions/order", json={"fails": True}).status_code == 409
        assert live == jobs == hooks == []
        assert http.post("/actions/order", json={}).status_code == 200
        assert live == jobs == hooks == [date(2026, 1, 4)]


def test_an_app_that_does_not_run_is_told():
    with pytest.raises(ServeyError, match="The app is not running; use `with client"), enqueued(APP):
        pass


def test_an_async_client_shares_the_loop_of_the_test():
    loops = []

    def loop_of_app() -> asyncio.AbstractEventLoop:
        raise AssertionError("it is overridden")

    @action(triggers=WEB_POST)
    async def where(
        loop: Annotated[asyncio.AbstractEventLoop, Depends(loop_of_app)], authorization: Authorization
    ) -> str | None:
        loops.append((loop, asyncio.get_running_loop()))
        return authorization.subject_id

    app = create_app(actions=[where], settings=DEV)

    async def test() -> None:
        here = asyncio.get_running_loop()
        app.dependency_overrides[loop_of_app] = lambda: here
        async with async_client(app, authorization=Authorization("ada")) as http:
            assert (await http.post("/actions/where")).json() == "ada"
        assert loops == [(here, here)]

    asyncio.run(test())


def test_a_set_up_runs_before_each_example():
    rows: list[str] = []

    def rows_of() -> list[str]:
        raise AssertionError("it is overridden")

    @action(triggers=WEB_POST, examples=[Example("one", {}, ["a row"])])
    def take(found: Annotated[list[str], Depends(rows_of)]) -> list[str]:
        taken = list(found)
        found.clear()
        return taken

    app = create_app(actions=[take], settings=DEV)
    app.dependency_overrides[rows_of] = lambda: rows
    cases: list[str] = []

    def set_up(case) -> None:
        cases.append(case.transport)
        rows[:] = ["a row"]

    made = define_test_class(app, set_up=set_up)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(made).run(result)
    assert result.wasSuccessful(), result.failures + result.errors
    assert sorted(cases) == ["GraphQL mutation take", "POST /actions/take", "call", "job"]
    assert not rows


def test_a_conftest_prepares_each_example(tmp_path):
    (tmp_path / "actions.py").write_text(
        "from typing import Annotated\nfrom fastapi import Depends\nfrom servey import WEB_POST, Example, action\n"
        "def rows():\n    raise AssertionError('it is overridden')\n\n"
        "@action(triggers=WEB_POST, examples=[Example('one', {}, ['a row'])])\n"
        "def take(found: Annotated[list[str], Depends(rows)]) -> list[str]:\n    return [found.pop()]\n",
        encoding="utf-8",
    )
    (tmp_path / "conftest.py").write_text(
        "import actions\n"
        "def pytest_servey_set_up(app, case):\n    app.dependency_overrides[actions.rows] = lambda: made\n"
        "    made = ['a row']\n",
        encoding="utf-8",
    )
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--servey-examples", cwd=tmp_path, timeout=150)
    assert "4 passed" in done.stdout, done.stdout
