"""Jobs and schedules, in this process's memory and in Redis: what is promised of them, on a running app."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any

import pytest
from fastapi import HTTPException
from pydantic import AfterValidator
from redis import Redis

from servey import (
    WEB_GET,
    WEB_POST,
    ActionError,
    Authorization,
    Context,
    FixedRateTrigger,
    NotFound,
    Parts,
    Retry,
    ScopeAccessControl,
    ServeyError,
    Settings,
    action,
    background_action_channel,
    create_app,
)
from servey.core.errors import InvalidParams, Overloaded, Unauthenticated
from servey.core.queues import Job
from servey.jobs import memory as memory_module
from servey.testing import client, token_for

pytestmark = pytest.mark.anyio

DEV = Settings(env="dev", job_grace=2)
IN_MEMORY = pytest.mark.parametrize("where", ["memory"], indirect=True)
QUICK = Retry(max_tries=3, backoff=0.01)
SEEN: list[Any] = []


@pytest.fixture(autouse=True, params=["memory", "Redis"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has `app` make apps whose queue is there; with Redis, an app in development is its own worker."""
    if request.param == "Redis":
        server = request.getfixturevalue("redis")
        with Redis.from_url(server.url) as cleared:
            cleared.flushdb()
        monkeypatch.setattr(sys.modules[__name__], "DEV", DEV.model_copy(update={"redis_url": server.url}))


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


@action(triggers=WEB_POST, retry=QUICK)
async def note(what: str, context: Context, authorization: Authorization | None) -> str:
    SEEN.append((what, context.via, authorization.subject_id if authorization else None))
    return what.upper()


@action(triggers=WEB_POST)
def note_def(what: str) -> None:
    SEEN.append(what)


@action(retry=QUICK)
async def fails(times: int) -> int:
    SEEN.append(time.monotonic())
    if len(SEEN) <= times:
        raise RuntimeError("secret text")
    return len(SEEN)


@action(retry=QUICK)
async def refuses() -> None:
    SEEN.append(1)
    raise NotFound("no such thing")


@action(retry=QUICK)
async def refuses_as_fastapi() -> None:
    raise HTTPException(404, "no such thing")


def _checked(what: str) -> str:
    if SEEN:
        raise ValueError("not any more")
    return what


@action(retry=QUICK)
async def picky(what: Annotated[str, AfterValidator(_checked)]) -> str:
    return what


@action(retry=QUICK)
async def exits() -> None:
    await asyncio.sleep(0)
    sys.exit(2)


@action(retry=QUICK)
def exits_in_a_thread() -> None:
    sys.exit("no config")


@action(retry=QUICK)
async def interrupts() -> None:
    raise KeyboardInterrupt


@action(retry=QUICK)
async def cancels_itself() -> None:
    raise asyncio.CancelledError


@action(retry=QUICK)
async def half_a_surrogate() -> str:
    return "Holiday \ud83d"


@action(retry=QUICK)
async def refuses_half_a_surrogate() -> str:
    raise ActionError(400, "bad", "no such file: caf\udce9.txt")


@action(retry=QUICK)
async def not_utf8() -> bytes:
    return b"\xff"


@action(retry=QUICK, timeout=0.05)
async def too_slow() -> None:
    SEEN.append(1)
    await asyncio.sleep(30)


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def only_root() -> str:
    return "in"


@action(triggers=WEB_POST)
async def counts(upto: int, context: Context) -> int:
    for number in range(upto):
        context.progress(number, upto)
        await asyncio.sleep(0.01)
    context.progress(upto, upto)
    return upto


def app(*functions: Callable[..., Any], **more: Any):
    return create_app(actions=functions, settings=DEV, **more)


@asynccontextmanager
async def running(made):
    async with made.router.lifespan_context(made):
        yield made.runtime


async def ended(runtime, job_id: str):
    async with asyncio.timeout(10):
        while (state := await runtime.queue.state(job_id)).state in ("queued", "running"):
            await asyncio.sleep(0.01)
    return state


async def enqueued(runtime, act, params=None, *, caller=None, trusted=False, **more):
    async with runtime.context("test", authorization=caller, trusted=trusted) as context:
        return await context.enqueue(act, params, **more)


async def test_a_job_is_done_and_its_result_kept():
    async with running(app(note)) as runtime:
        state = await ended(runtime, await enqueued(runtime, note, {"what": "a"}, caller=Authorization("ada")))
        assert (state.state, state.result, state.tries) == ("done", "A", 1)
        assert SEEN == [("a", "job", "ada")]


async def test_an_action_is_named_too():
    async with running(app(note)) as runtime:
        assert (await ended(runtime, await enqueued(runtime, "note", {"what": "a"}))).result == "A"
        with pytest.raises(ServeyError, match="'nothing' is not an action of this app"):
            await enqueued(runtime, "nothing")


async def test_a_mistake_fails_where_it_is_made():
    async with running(app(note, only_root)) as runtime:
        with pytest.raises(InvalidParams):
            await enqueued(runtime, note, {"what": 5})
        with pytest.raises(Unauthenticated):
            await enqueued(runtime, only_root)
        assert await runtime.queue.jobs() == []


async def test_a_delay_is_kept():
    async with running(app(note)) as runtime:
        begun = time.monotonic()
        job_id = await enqueued(runtime, note, {"what": "a"}, delay=0.2)
        await enqueued(runtime, note, {"what": "b"})
        await ended(runtime, job_id)
        assert time.monotonic() - begun >= 0.2
        assert [what for what, *_ in SEEN] == ["b", "a"]


async def test_a_key_makes_it_once():
    async with running(app(note, note_def)) as runtime:
        first = await enqueued(runtime, note, {"what": "a"}, key="k")
        assert await enqueued(runtime, note, {"what": "b"}, key="k") == first
        assert await enqueued(runtime, note, {"what": "c"}, key="l") != first
        assert await enqueued(runtime, note_def, {"what": "d"}, key="k") != first
        await ended(runtime, first)
        assert await enqueued(runtime, note, {"what": "e"}, key="k") == first


async def test_what_fails_is_tried_again():
    async with running(app(fails)) as runtime:
        state = await ended(runtime, await enqueued(runtime, fails, {"times": 2}))
        assert (state.state, state.result, state.tries) == ("done", 3, 3)


async def test_what_goes_on_failing_is_kept_dead_without_its_inner_text(caplog):
    async with running(app(fails)) as runtime:
        job_id = await enqueued(runtime, fails, {"times": 99})
        state = await ended(runtime, job_id)
        assert (state.state, state.tries) == ("dead", 3)
        assert state.error == {"detail": "Internal Server Error", "code": "internal"}
        assert [each.job.id for each in await runtime.queue.jobs()] == [job_id]
        assert "secret text" in caplog.text

        SEEN[:] = range(99)
        assert await runtime.queue.retry(job_id)
        assert (await ended(runtime, job_id)).state == "done"
        assert not await runtime.queue.retry(job_id)


async def test_a_dead_job_can_be_dropped():
    async with running(app(fails)) as runtime:
        job_id = await enqueued(runtime, fails, {"times": 99})
        await ended(runtime, job_id)
        assert await runtime.queue.drop(job_id)
        assert await runtime.queue.state(job_id) is None
        assert not await runtime.queue.drop(job_id)


async def test_the_key_of_a_dropped_job_is_free_again():
    async with running(app(refuses)) as runtime:
        first = await enqueued(runtime, refuses, key="once")
        await ended(runtime, first)
        assert await enqueued(runtime, refuses, key="once") == first
        assert await runtime.queue.drop(first)
        second = await enqueued(runtime, refuses, key="once")
        assert second != first
        assert (await ended(runtime, second)).state == "dead"


@IN_MEMORY
async def test_no_more_dead_jobs_are_kept_than_a_queue_may_hold(monkeypatch):
    monkeypatch.setattr(memory_module, "MOST_DEAD", 2)
    async with running(app(refuses)) as made:
        ids = []
        for _ in range(3):
            ids.append(await enqueued(made, refuses))
            await ended(made, ids[-1])
        assert [each.job.id for each in await made.queue.jobs()] == ids[1:]
        # One that died again has died last, and counts once.
        assert await made.queue.retry(ids[1])
        await ended(made, ids[1])
        assert {each.job.id for each in await made.queue.jobs()} == set(ids[1:])
        last = await enqueued(made, refuses)
        await ended(made, last)
        assert {each.job.id for each in await made.queue.jobs()} == {ids[1], last}


@pytest.mark.parametrize("act", [refuses, refuses_as_fastapi])
async def test_an_error_that_the_action_raises_is_retried_whatever_its_status(act):
    async with running(app(act)) as runtime:
        state = await ended(runtime, await enqueued(runtime, act))
        assert (state.state, state.tries, state.error["detail"]) == ("dead", 3, "no such thing")


async def test_what_access_control_or_validation_refuses_is_not_tried_again():
    async with running(app(picky)) as runtime:
        SEEN.append("refuse")  # from here on
        job = Job("one", "picky", {"what": "a"}, trusted=True, retry=QUICK)
        state = await ended(runtime, await runtime.queue.enqueue(job))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 1, "invalid_params")


async def test_an_action_that_is_not_there_is_retried():
    async with running(app(note)) as runtime:
        state = await ended(runtime, await runtime.queue.enqueue(Job("one", "gone", {}, trusted=True, retry=QUICK)))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 3, "not_found")


@pytest.mark.parametrize("act", [exits, exits_in_a_thread, interrupts, cancels_itself])
async def test_what_ends_a_process_or_a_task_elsewhere_fails_its_job_only(act):
    async with running(app(act, note)) as runtime:
        state = await ended(runtime, await enqueued(runtime, act))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 3, "internal")
        assert (await ended(runtime, await enqueued(runtime, note, {"what": "a"}))).state == "done"


@pytest.mark.parametrize("act", [half_a_surrogate, refuses_half_a_surrogate, not_utf8])
async def test_a_result_that_json_can_not_hold_fails_its_job_only(act, caplog):
    async with running(app(act, note)) as runtime:
        state = await ended(runtime, await enqueued(runtime, act))
        assert state.state == "dead"
        assert (await ended(runtime, await enqueued(runtime, note, {"what": "a"}))).state == "done"
        assert not runtime.failed_tasks
    assert caplog.text.encode()  # a log in a file can hold the message


async def test_over_its_time_counts_as_a_failure():
    async with running(app(too_slow)) as runtime:
        state = await ended(runtime, await enqueued(runtime, too_slow))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 3, "timeout")


async def test_an_enqueuer_is_checked_again_when_the_job_runs():
    soon = Authorization("ada", frozenset({"root"}), expire_at=datetime.now(UTC) + timedelta(seconds=1.5))
    async with running(app(only_root)) as runtime:
        assert (await ended(runtime, await enqueued(runtime, only_root, caller=soon))).state == "done"
        # The identity that was verified when the job was enqueued is kept, although the token has expired.
        state = await ended(runtime, await enqueued(runtime, only_root, caller=soon, delay=1.6))
        assert (state.state, state.result) == ("done", "in")


async def test_an_authorizer_says_whether_the_enqueuer_may_still_call():
    gone: set[str] = set()

    class Authorizer:
        async def authorize(self, token: str) -> Authorization:
            return Authorization(token)

        async def is_active(self, authorization: Authorization) -> bool:
            return authorization.subject_id not in gone

    made = app(note, resize, channels=[channel], parts=Parts(authorizer=lambda settings: Authorizer()))
    async with running(made) as runtime:
        assert (await ended(runtime, await enqueued(runtime, note, {"what": "a"}, caller=Authorization("ada")))).result
        gone.add("ada")
        state = await ended(runtime, await enqueued(runtime, note, {"what": "a"}, caller=Authorization("ada")))
        assert (state.state, state.tries, state.error["code"]) == ("dead", 1, "unauthenticated")


async def test_the_app_itself_needs_no_token():
    async with running(app(only_root)) as runtime:
        assert (await ended(runtime, await enqueued(runtime, only_root, trusted=True))).result == "in"


async def test_progress_is_told():
    async with running(app(counts)) as runtime:
        job_id = await enqueued(runtime, counts, {"upto": 20})
        told = []
        async with asyncio.timeout(5):
            while (state := await runtime.queue.state(job_id)).state != "done":
                told.append(state.progress)
                await asyncio.sleep(0.005)
        assert any(each is not None and 0 < each["done"] < 20 for each in told)
        assert state.progress == {"done": 20, "total": 20}


@IN_MEMORY
async def test_jobs_that_are_due_are_finished_at_the_end(caplog):
    async with running(app(note)) as runtime:
        await enqueued(runtime, note, {"what": "now"})
        await enqueued(runtime, note, {"what": "later"}, delay=60)
    assert [what for what, *_ in SEEN] == ["now"]
    assert "1 jobs are lost with this process; with SERVEY_REDIS_URL they would be kept" in caplog.text


# ------------------------------------------------------------------------------------------------------ channels


@action(triggers=WEB_POST)
def publishes(what: str) -> str:
    channel.publish(what)
    return what


@action(triggers=WEB_POST)
async def publishes_async(what: str) -> str:
    await channel.publish(what)
    return what


@action(access_control=ScopeAccessControl("root"), retry=QUICK)
async def resize(image: str, authorization: Authorization | None) -> None:
    SEEN.append((image, authorization.subject_id if authorization else None))


channel = background_action_channel(resize)


@pytest.mark.parametrize("act", [publishes, publishes_async])
async def test_a_background_channel_calls_its_action_for_the_publisher(act):
    made = app(act, channels=[channel])
    async with running(made) as runtime:
        async with runtime.context("test", authorization=Authorization("ada")) as context:
            from servey.calls.invoke import invoke

            await invoke(act.servey_action, {"what": "cat.png"}, context)
        async with asyncio.timeout(5):
            while not SEEN:
                await asyncio.sleep(0.01)
    assert SEEN == [("cat.png", "ada")]


async def test_code_outside_of_any_call_publishes_too(caplog):
    async with running(app(channels=[channel])) as runtime:
        await channel.publish("dog.png")
        async with asyncio.timeout(5):
            while not SEEN:
                await asyncio.sleep(0.01)
    assert SEEN == [("dog.png", None)]
    await channel.publish("late.png")
    assert "the app's lifespan is not running" in caplog.text
    await runtime.queue.aclose()


async def test_a_delayed_channel():
    later = background_action_channel(resize, delay=0.2, name="later")
    async with running(app(channels=[later])) as runtime:
        await later.publish("x")
        [state] = await runtime.queue.jobs()
        assert 0 < state.due_at - time.time() <= 0.2


# ----------------------------------------------------------------------------------------------------- schedules

RUNS: list[float] = []


@action(triggers=FixedRateTrigger(0.5))
def every_half_second() -> None:
    RUNS.append(time.time())
    if len(RUNS) == 2:
        raise RuntimeError("once")


@action(triggers=FixedRateTrigger(0.5))
async def takes_longer() -> None:
    RUNS.append(time.time())
    await asyncio.sleep(0.8)


async def test_a_schedule_runs_in_its_slots_and_goes_on_after_an_error(caplog):
    RUNS.clear()
    async with running(app(every_half_second)), asyncio.timeout(10):
        while len(RUNS) < 4:
            await asyncio.sleep(0.02)
    slots = [round(moment * 2) for moment in RUNS]
    assert slots == list(range(slots[0], slots[0] + len(slots)))
    assert all(moment * 2 - slot >= 0 for moment, slot in zip(RUNS, slots, strict=True))
    assert "schedule 'every_half_second' failed in its slot" in caplog.text


async def test_a_run_that_takes_longer_is_not_overtaken_but_its_slot_skipped():
    RUNS.clear()
    async with running(app(takes_longer)), asyncio.timeout(10):
        while len(RUNS) < 3:
            await asyncio.sleep(0.02)
    assert all(later - earlier > 0.9 for earlier, later in pairwise(RUNS))


@action(triggers=FixedRateTrigger(0.5), timeout=0.1)
def over_its_timeout() -> None:
    RUNS.append(time.time())
    time.sleep(0.8)
    RUNS.append(time.time())


async def test_a_plain_function_that_runs_on_over_its_timeout_is_not_overtaken():
    RUNS.clear()
    async with running(app(over_its_timeout)), asyncio.timeout(20):
        while len(RUNS) < 4:
            await asyncio.sleep(0.02)
    assert all(later - earlier > 0.75 for earlier, later in zip(RUNS[::2], RUNS[1::2], strict=False))
    assert RUNS[2] >= RUNS[1]


@action(triggers=FixedRateTrigger(0.5))
async def exits_in_its_second_slot() -> None:
    RUNS.append(time.time())
    if len(RUNS) == 2:
        sys.exit("no config")


async def test_a_schedule_that_exits_goes_on(caplog):
    RUNS.clear()
    async with running(app(exits_in_its_second_slot)) as runtime, asyncio.timeout(20):
        while len(RUNS) < 3:
            await asyncio.sleep(0.02)
        assert not runtime.failed_tasks
    assert "schedule 'exits_in_its_second_slot' failed in its slot" in caplog.text


# ------------------------------------------------------------------------------------------------------ over HTTP


def until_done(http, path: str, **headers: str) -> dict[str, Any]:
    end = time.monotonic() + 10
    while (body := http.get(path, headers=headers).json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.01)
    return body


def test_prefer_respond_async():
    with client(app(note)) as http:
        answer = http.post("/actions/note", json={"what": "a"}, headers={"Prefer": "respond-async, wait=5"})
        assert answer.status_code == 202
        assert answer.headers["preference-applied"] == "respond-async"
        assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
        assert answer.json()["action"] == "note"
        body = until_done(http, answer.headers["location"])
        assert body == {
            "id": answer.json()["id"], "action": "note", "state": "done", "progress": None, "result": "A", "error": None
        }  # fmt: skip


def test_what_is_wrong_is_said_at_once():
    with client(app(note, only_root)) as http:
        later = {"Prefer": "respond-async"}
        assert http.post("/actions/note", json={"what": 5}, headers=later).status_code == 422
        assert http.post("/actions/only-root", headers=later).status_code == 401


def test_a_job_is_its_enqueuers_own():
    made = app(note)
    ada, bob = (f"Bearer {token_for(made, Authorization(name))}" for name in ("ada", "bob"))
    with client(made) as http:
        headers = {"Prefer": "respond-async", "Authorization": ada}
        path = http.post("/actions/note", json={"what": "a"}, headers=headers).headers["location"]
        assert until_done(http, path, Authorization=ada)["result"] == "A"
        for answer in (http.get(path), http.get(path, headers={"Authorization": bob}), http.get("/jobs/nothing")):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert http.get(path, headers={"Authorization": "Bearer bad"}).status_code == 401


@action(triggers=WEB_POST)
async def fails_for_good() -> None:
    raise ActionError(409, "twice", "not again")


def test_a_call_that_fails_has_one_try():
    with client(app(fails_for_good)) as http:
        path = http.post("/actions/fails-for-good", headers={"Prefer": "respond-async"}).headers["location"]
        body = until_done(http, path)
        assert (body["state"], body["error"]) == ("failed", {"detail": "not again", "code": "twice"})


async def test_a_job_whose_only_try_failed_is_among_the_dead_letters():
    async with running(app(fails)) as runtime:
        job = Job("one", "fails", {"times": 1}, trusted=True, retry=Retry(max_tries=1))
        job_id = await runtime.queue.enqueue(job)
        assert (await ended(runtime, job_id)).state == "failed"
        assert [(each.job.id, each.state) for each in await runtime.queue.jobs()] == [(job_id, "failed")]
        assert (await runtime.queue.depth()).dead == 1
        assert await runtime.queue.retry(job_id)
        assert (await ended(runtime, job_id)).state == "done"
        assert (await runtime.queue.depth()).dead == 0
        job_id = await runtime.queue.enqueue(Job("two", "fails", {"times": 9}, trusted=True, retry=Retry(max_tries=1)))
        await ended(runtime, job_id)
        assert await runtime.queue.drop(job_id)
        assert await runtime.queue.jobs() == []


@action(triggers=WEB_GET)
async def streams():
    yield 1


def test_what_can_not_be_later_is_answered_now():
    with client(app(streams)) as http:
        answer = http.get("/actions/streams", headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.text) == (200, "1\n")


# ------------------------------------------------------------------------------------------------------- in memory


@action(triggers=WEB_POST)
async def keeps(text: str) -> str:
    await asyncio.sleep(0)
    return text


async def until_full(runtime, params) -> int:
    count = 0
    while count < 100:
        try:
            await enqueued(runtime, keeps, params, delay=60)
        except Overloaded:
            return count
        count += 1
    return count


@IN_MEMORY
async def test_no_more_jobs_wait_than_the_settings_allow():
    settings = DEV.model_copy(update={"job_max_entries": 5})
    async with running(create_app(actions=[keeps], settings=settings)) as runtime:
        assert await until_full(runtime, {"text": "a"}) == 5
        first = (await runtime.queue.jobs())[0].job.id
        assert await runtime.queue.drop(first)
        assert await until_full(runtime, {"text": "a"}) == 1


@IN_MEMORY
async def test_no_more_bytes_wait_than_the_settings_allow_and_results_make_room():
    settings = DEV.model_copy(update={"job_max_bytes": 500_000})
    async with running(create_app(actions=[keeps, fails], settings=settings)) as runtime:
        dead = await runtime.queue.enqueue(Job("dead", "keeps", {}, trusted=True, retry=Retry(max_tries=1)))
        assert (await ended(runtime, dead)).state == "failed"
        large = {"text": "x" * 100_000}
        ids = []
        for _ in range(20):
            ids.append(await enqueued(runtime, keeps, large))
            assert (await ended(runtime, ids[-1])).state == "done"
        kept = [each for each in ids if await runtime.queue.state(each) is not None]
        assert kept == ids[-len(kept) :]
        assert 1 <= len(kept) <= 4
        assert await runtime.queue.state(dead) is not None
        assert await until_full(runtime, large) == 4
        assert await runtime.queue.state(dead) is None


@IN_MEMORY
def test_a_full_queue_is_answered_by_503():
    settings = DEV.model_copy(update={"job_max_bytes": 50_000})
    with client(create_app(actions=[keeps], settings=settings)) as http:
        answer = http.post("/actions/keeps", json={"text": "x" * 100_000}, headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
