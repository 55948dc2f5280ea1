"""A clock that a test sets: jobs, schedules, tokens and cached results go by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from starlette.websockets import WebSocketDisconnect

from servey import (
    WEB_GET,
    Authorization,
    Context,
    CronTrigger,
    FixedRateTrigger,
    Retry,
    ServeyError,
    Settings,
    TtlCacheControl,
    action,
    create_app,
    enqueue,
    issue_token,
    websocket_event_channel,
)
from servey.testing import SettableClock, async_client, client, set_clock, token_for

DEV = Settings(env="dev")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Log(list[tuple[str, str]]):
    """What ran, each with the time of the clock."""

    clock: SettableClock

    def add(self, what: str) -> None:
        self.append((self.clock.now.strftime("%d %H:%M:%S"), what))


LOG = Log()


@pytest.fixture(autouse=True)
def empty_log():
    LOG.clear()


@action
def remind(whom: str) -> None:
    LOG.add(whom)


@action
async def chain(left: int, context: Context) -> None:
    LOG.add(f"chain {left}")
    if left:
        await context.enqueue(chain, {"left": left - 1}, delay=60)


@action(retry=Retry(max_tries=3, backoff=10))
def fails() -> None:
    LOG.add("fails")
    raise ValueError


@action(triggers=CronTrigger("30 12 * * *"))
def daily() -> None:
    LOG.add("daily")


@action(triggers=FixedRateTrigger(timedelta(hours=8)))
async def often() -> None:
    await asyncio.sleep(0)
    LOG.add("often")


def jobs_app():
    return create_app(actions=[remind, chain, fails], settings=DEV)


def test_a_delayed_job_runs_when_the_clock_is_advanced():
    app = jobs_app()
    with client(app), set_clock(app, NOON) as LOG.clock:
        enqueue(remind, {"whom": "ada"}, delay=3600)
        LOG.clock.advance(minutes=59, seconds=59)
        assert LOG == []
        LOG.clock.advance(seconds=1)
        assert LOG == [("01 13:00:00", "ada")]
        LOG.clock.advance(days=100)
        assert len(LOG) == 1


def test_all_that_becomes_due_happens_in_order_and_at_its_own_time():
    app = jobs_app()
    with set_clock(app, NOON) as LOG.clock, client(app):
        enqueue(remind, {"whom": "bob"}, delay=90)
        enqueue(chain, {"left": 2})
        LOG.clock.advance(timedelta(minutes=5))
    assert LOG == [
        ("01 12:00:00", "chain 2"),
        ("01 12:01:00", "chain 1"),
        ("01 12:01:30", "bob"),
        ("01 12:02:00", "chain 0"),
    ]


def test_a_failed_job_is_tried_again_when_its_delay_has_passed():
    app = jobs_app()
    with set_clock(app, NOON) as LOG.clock, client(app):
        enqueue(fails, {})
        LOG.clock.advance()
        assert LOG == [("01 12:00:00", "fails")]
        LOG.clock.advance(hours=1)
    assert len(LOG) == 3
    assert LOG[0] < LOG[2] < ("01 12:01:00", "")


def test_an_async_test_awaits_it():
    async def run() -> None:
        app = jobs_app()
        async with async_client(app):
            with set_clock(app, NOON) as LOG.clock:
                await enqueue(remind, {"whom": "ada"}, delay=0.1)
                for _ in range(10):
                    await LOG.clock.advance(seconds=0.01)
                assert LOG == [("01 12:00:00", "ada")]

    asyncio.run(run())


@pytest.mark.parametrize("is_around", [True, False])
def test_an_async_test_sees_the_first_slots_of_a_schedule_too(is_around):
    async def run() -> None:
        app = create_app(actions=[often], settings=DEV)
        async with AsyncExitStack() as stack:
            if is_around:
                LOG.clock = stack.enter_context(set_clock(app, NOON))
            await stack.enter_async_context(async_client(app))
            if not is_around:
                LOG.clock = stack.enter_context(set_clock(app, NOON))
            await LOG.clock.advance(hours=12)

    asyncio.run(run())
    assert LOG == [("01 16:00:00", "often"), ("02 00:00:00", "often")]


def test_each_slot_of_a_schedule_is_run():
    app = create_app(actions=[daily, often], settings=DEV)
    with client(app), set_clock(app, NOON) as LOG.clock:
        LOG.clock.advance_to(datetime(2026, 6, 2, 14, tzinfo=UTC))
    assert LOG == [
        ("01 12:30:00", "daily"),
        ("01 16:00:00", "often"),
        ("02 00:00:00", "often"),
        ("02 08:00:00", "often"),
        ("02 12:30:00", "daily"),
    ]


def test_the_key_of_a_job_is_held_for_its_time():
    app = jobs_app()
    with client(app), set_clock(app, NOON) as LOG.clock:
        for seconds in (0, 59, 1):
            LOG.clock.advance(seconds=seconds)
            enqueue(remind, {"whom": "ada"}, key="ada", unique_for=60)
            LOG.clock.advance()
    assert [moment for moment, _ in LOG] == ["01 12:00:00", "01 12:01:00"]


def test_tokens_expire():
    @action(triggers=WEB_GET)
    def me(authorization: Authorization) -> str | None:
        return authorization.subject_id

    app = create_app(actions=[me], settings=Settings(env="dev", jwt_leeway=0))
    with set_clock(app, NOON) as clock, client(app) as http:
        tokens = [token_for(app, Authorization("ada")), issue_token("ada", expires_in=3600)]
        for expected, seconds in ((200, 3599), (200, 1), (401, 0)):
            for token in tokens:
                answer = http.get("/actions/me", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == expected
            clock.advance(seconds=seconds)


def test_a_subscription_ends_with_its_token():
    ticks = websocket_event_channel("ticks", str)
    app = create_app(actions=[], channels=[ticks], settings=DEV)
    with client(app, authorization=Authorization("ada")) as http, http.websocket_connect("/subscription") as socket:
        socket.send_json({"type": "Subscribe", "payload": "ticks"})
        assert socket.receive_json()["type"] == "Subscribed"
        with set_clock(app) as clock:
            clock.advance(hours=2)
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
    assert ended.value.code == 4401


def test_a_stream_ends_with_its_token():
    @action(triggers=WEB_GET)
    async def endless(context: Context) -> AsyncIterator[int]:
        yield 1
        started.set()
        await asyncio.Event().wait()

    started = asyncio.Event()

    async def run() -> list[str]:
        app = create_app(actions=[endless], settings=DEV)
        async with async_client(app, authorization=Authorization("ada")) as http:
            with set_clock(app) as clock:
                reading = asyncio.create_task(http.get("/actions/endless"))
                await started.wait()
                await clock.advance(hours=2)
                return (await reading).text.splitlines()

    first, last = asyncio.run(run())
    assert first == "1"
    assert "unauthenticated" in last


def test_cached_results_expire():
    calls = []

    @action(triggers=WEB_GET, cache_control=TtlCacheControl(60, private=False))
    def number() -> int:
        calls.append(1)
        return len(calls)

    app = create_app(actions=[number], settings=DEV)
    with client(app) as http, set_clock(app, NOON) as clock:
        found = []
        for seconds in (20, 39, 1, 0):
            answer = http.get("/actions/number")
            found.append((answer.json(), answer.headers["cache-control"], answer.headers["expires"]))
            clock.advance(seconds=seconds)
    ending = "GMT"
    assert found == [
        (1, "public, max-age=60", f"Mon, 01 Jun 2026 12:01:00 {ending}"),
        (1, "public, max-age=40", f"Mon, 01 Jun 2026 12:01:00 {ending}"),
        (1, "public, max-age=1", f"Mon, 01 Jun 2026 12:01:00 {ending}"),
        (2, "public, max-age=60", f"Mon, 01 Jun 2026 12:02:00 {ending}"),
    ]


def test_afterwards_the_clock_follows_the_system_again():
    app = jobs_app()
    with client(app):
        with set_clock(app) as LOG.clock:
            assert abs(LOG.clock.now - datetime.now(UTC)) < timedelta(minutes=1)
            with set_clock(app, NOON):
                assert LOG.clock.now == NOON
            LOG.clock.advance(hours=1)
        assert abs(LOG.clock.now - datetime.now(UTC)) < timedelta(minutes=1)


def test_what_cannot_be_done_is_refused():
    app = jobs_app()
    with set_clock(app, NOON) as clock:
        with pytest.raises(ServeyError, match="cannot go back from 2026-06-01 12:00"):
            clock.advance(seconds=-1)
        with pytest.raises(ServeyError, match="no time zone"):
            clock.advance_to(datetime(2026, 7, 1))
        clock.advance_to(datetime(2026, 7, 1, tzinfo=UTC))
        assert clock.now.month == 7
    redis = create_app(actions=[], settings=Settings(env="dev", redis_url="redis://127.0.0.1:1"))
    with pytest.raises(ServeyError, match="Redis"), set_clock(redis):
        pass
