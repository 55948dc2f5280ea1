"""`on_success`: jobs and events are kept back until the call has succeeded, and dropped if it fails."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends

from servey import (
    WEB_GET,
    WEB_POST,
    BatchInvoker,
    Conflict,
    Context,
    ServeyError,
    Settings,
    action,
    background_action_channel,
    create_app,
    enqueue,
    websocket_event_channel,
)
from servey.core.errors import InvalidParams
from servey.testing import client, subscribe
from tests.serving import wait_until

DEV = Settings(env="dev")
GENERIC = {"Prefer": "handling=lenient"}
log: list[str] = []
news = websocket_event_channel("news", str)


@pytest.fixture(autouse=True)
def empty_log():
    log.clear()


def transaction() -> Iterator[None]:
    log.append("begin")
    try:
        yield
    except BaseException:
        log.append("rollback")
        raise
    log.append("commit")


Transaction = Annotated[None, Depends(transaction, scope="function")]


@action
def note(text: str) -> None:
    log.append(f"job {text}")


noted = background_action_channel(note, name="noted")


@action(triggers=WEB_POST)
async def by_async(context: Context, fails: bool = False) -> str:
    job_id = await context.enqueue(note, {"text": "async"}, on_success=True)
    log.append("called")
    if fails:
        raise Conflict("too late")
    return job_id


@action(triggers=WEB_POST)
def by_thread(context: Context, opened: Transaction, fails: bool = False) -> str:
    job_id = context.enqueue(note, {"text": "thread"}, on_success=True).value
    noted.publish("event", on_success=True)
    if fails:
        raise Conflict("too late")
    return job_id


@action(triggers=WEB_POST)
async def unawaited(opened: Transaction, fails: bool = False) -> None:
    enqueue(note, {"text": "first"}, on_success=True)
    enqueue(note, {"text": "second"}, on_success=True)
    if fails:
        raise Conflict("too late")


@action(triggers=WEB_POST)
async def wrong_result(opened: Transaction) -> int:
    await noted.publish("never", on_success=True)
    return "no number"  # type: ignore[return-value]


@action(triggers=WEB_POST)
async def invalid(context: Context) -> str:
    try:
        await context.enqueue(note, {"text": 3}, on_success=True)
    except InvalidParams:
        return "told at once"
    return "not told"


@action(triggers=WEB_POST)
async def afterwards(context: Context, tasks: BackgroundTasks) -> None:
    async def later() -> None:
        await context.enqueue(note, {"text": "afterwards"}, on_success=True)

    tasks.add_task(later)


@action(triggers=WEB_POST)
async def told(fails: bool = False) -> None:
    for number in range(3):
        news.publish(f"{fails} {number}", on_success=True)
    if fails:
        raise Conflict("too late")


@action(triggers=WEB_GET)
async def counted(up_to: int) -> AsyncIterator[int]:
    await noted.publish("stream", on_success=True)
    for number in range(up_to):
        if number == 3:
            raise Conflict("too far")
        yield number
        log.append(f"item {number}")


async def lengths_of(keys: list[str]) -> list[int]:
    await noted.publish(f"batch of {len(keys)}", on_success=True)
    return [len(key) for key in keys]


@dataclass
class Word:
    text: str

    @action(batch_invoker=BatchInvoker(lengths_of, arg_extractor=lambda word: [word.text]))
    async def length(self) -> int:
        return (await lengths_of([self.text]))[0]


@action(triggers=WEB_GET)
async def words() -> list[Word]:
    return [Word("one"), Word("three")]


ACTIONS = [by_async, by_thread, unawaited, wrong_result, invalid, afterwards, told, counted, words, note]


@pytest.fixture
def http():
    with client(create_app(actions=ACTIONS, channels=[news, noted], settings=DEV)) as http:
        yield http


FORMS = pytest.mark.parametrize("form", [{}, GENERIC], ids=["compiled", "generic"])


@FORMS
def test_a_job_waits_for_the_call(http, form):
    answer = http.post("/actions/by-async", json={}, headers=form)
    assert answer.status_code == 200
    assert http.get(f"/jobs/{answer.json()}").status_code == 200
    wait_until(lambda: "job async" in log, "the job ran")
    assert log == ["called", "job async"]


@FORMS
def test_jobs_and_events_wait_for_the_transaction(http, form):
    assert http.post("/actions/by-thread", json={}, headers=form).status_code == 200
    wait_until(lambda: len(log) == 4, "both jobs ran")
    assert log[:2] == ["begin", "commit"]
    assert sorted(log[2:]) == ["job event", "job thread"]
    log.clear()
    assert http.post("/actions/unawaited", json={}, headers=form).status_code == 200
    wait_until(lambda: len(log) == 4, "both jobs ran")
    assert log == ["begin", "commit", "job first", "job second"]


@FORMS
@pytest.mark.parametrize("name", ["by-async", "by-thread", "unawaited", "wrong-result"])
def test_they_are_dropped_if_the_call_fails(http, form, name):
    assert http.post(f"/actions/{name}", json={"fails": True}, headers=form).status_code in (409, 500)
    assert http.post("/actions/by-async", json={}, headers=form).status_code == 200
    wait_until(lambda: "job async" in log, "the later job ran")
    assert [entry for entry in log if entry.startswith("job")] == ["job async"]
    assert "commit" not in log


@FORMS
def test_invalid_parameters_are_told_at_once(http, form):
    assert http.post("/actions/invalid", json={}, headers=form).json() == "told at once"


def test_after_the_call_it_is_done_at_once(http):
    assert http.post("/actions/afterwards", json={}).status_code == 200
    wait_until(lambda: log == ["job afterwards"], "the job ran")


def test_events_keep_their_order(http):
    with subscribe(http, "news") as news_of:
        assert http.post("/actions/told", json={"fails": True}).status_code == 409
        assert http.post("/actions/told", json={}).status_code == 200
        assert [news_of.next() for _ in range(3)] == ["False 0", "False 1", "False 2"]


def test_a_stream_succeeds_when_it_ends(http):
    assert http.get("/actions/counted?up_to=2").text == "0\n1\n"
    wait_until(lambda: "job stream" in log, "the job ran")
    assert log == ["item 0", "item 1", "job stream"]
    log.clear()
    assert "conflict" in http.get("/actions/counted?up_to=9").text
    assert http.get("/actions/counted?up_to=0").text == ""
    wait_until(lambda: "job stream" in log, "the job of the empty stream ran")
    assert log.count("job stream") == 1


def test_each_field_of_a_graphql_operation_is_a_call(http):
    query = "mutation { one: byThread { __typename } two: byThread(fails: true) { __typename } }"
    query = query.replace(" { __typename }", "")
    answer = http.post("/graphql", json={"query": query}).json()
    assert [error["path"] for error in answer["errors"]] == [["two"]]
    wait_until(lambda: len([entry for entry in log if entry.startswith("job")]) == 2, "the jobs of one field ran")
    assert log.index("commit") < log.index("job thread")
    assert log.count("rollback") == 1


def test_a_batch_is_a_call(http):
    answer = http.post("/graphql", json={"query": "{ words { length } }"}).json()
    assert answer["data"]["words"] == [{"length": 3}, {"length": 5}]
    wait_until(lambda: log == ["job batch of 2"], "the job ran")


def test_outside_a_call_there_is_nothing_to_wait_for():
    app = create_app(actions=ACTIONS, channels=[news, noted], settings=DEV)

    async def run() -> None:
        async with app.running():
            with pytest.raises(ServeyError, match=r"publish\(on_success=True\) waits for a call"):
                news.publish("text", on_success=True)
            with pytest.raises(ServeyError, match=r"enqueue\(on_success=True\) waits for a call"):
                enqueue(note, {"text": "text"}, on_success=True)

    asyncio.run(run())


def test_what_cannot_be_sent_after_the_commit_fails_the_call():
    """The caller learns that its event is lost; nothing is lost silently."""
    from servey import Parts
    from servey.core.errors import Overloaded
    from servey.jobs.memory import MemoryQueue

    class Refusing(MemoryQueue):
        async def enqueue(self, job: Any, *, delay: float = 0, key: str | None = None) -> str:
            if job.params == {"text": "first"}:
                raise Overloaded("the queue does not answer")
            return await super().enqueue(job, delay=delay, key=key)

    parts = Parts(queue=lambda settings: Refusing(keep=60, at_once=1, grace=1))
    with client(create_app(actions=ACTIONS, channels=[news, noted], settings=DEV, parts=parts)) as http:
        assert http.post("/actions/unawaited", json={}).status_code == 503
        wait_until(lambda: "job second" in log, "the other job ran")
        assert log == ["begin", "commit", "job second"]
