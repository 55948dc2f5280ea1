"""The body of a stream: chunks, slow and leaving clients, timeouts and task groups of the generator."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
import pytest
from fastapi import Depends

from servey import WEB_GET, Context, Settings, action, create_app
from servey.core.context import current_context

DEV = Settings(env="dev")
LOG: list[str] = []


async def resource() -> AsyncIterator[str]:
    LOG.append("open")
    yield "resource"
    LOG.append("close")


@action(triggers=WEB_GET)
async def numbers(upto: int, held: Annotated[str, Depends(resource)]) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


@action(triggers=WEB_GET)
async def bursts() -> AsyncIterator[int]:
    yield 0
    for number in range(1, 100):
        yield number
    LOG.append("waits")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        LOG.append("cancelled")
        await asyncio.sleep(0)
        raise
    finally:
        LOG.append("closed")


@action(triggers=WEB_GET)
async def grouped(upto: int) -> AsyncIterator[int]:
    """Yield inside a task group, which must end in the order of cancel scopes."""
    sending, receiving = anyio.create_memory_object_stream[int](100)

    async def produce() -> None:
        async with sending:
            for number in range(upto):
                await sending.send(number)
        if upto > 3:
            await anyio.sleep_forever()

    try:
        async with anyio.create_task_group() as group, receiving:
            group.start_soon(produce)
            async for number in receiving:
                yield number
    finally:
        LOG.append("closed")


@action(triggers=WEB_GET)
async def flood(context: Context) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        LOG.append("same" if current_context() is context else "other")


async def stream_of(name, send, disconnected, upto=3):
    """Request a stream with this ``send``, from a client that disconnects at an event."""
    app = create_app(actions=[bursts, numbers, timeouts, grouped, flood], settings=DEV)
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await disconnected.wait()
        return {"type": "http.disconnect"}

    path = f"/actions/{name}"
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"upto=%d" % upto,
    }
    async with app.router.lifespan_context(app):
        await asyncio.wait_for(app({**scope, "headers": [], "state": {}}, receive, send), 10)


def test_items_that_are_ready_are_sent_together_before_the_next_one_is_awaited():
    LOG.clear()
    disconnected, chunks = asyncio.Event(), []

    async def send(message):
        chunks.append(message.get("body", b""))
        if message.get("body", b"").endswith(b"99\n"):
            LOG.append("sent")
            disconnected.set()

    asyncio.run(stream_of("bursts", send, disconnected))
    assert [int(line) for line in b"".join(chunks).split()] == list(range(100))
    assert chunks[:2] == [b"", b"0\n"]  # the first one does not wait for another
    assert len(chunks) < 50
    assert LOG == ["waits", "sent", "cancelled", "closed"]


def test_a_client_that_leaves_while_a_step_waits_and_the_body_is_full_cancels_the_step():
    LOG.clear()
    disconnected = asyncio.Event()

    async def send(message):
        if message.get("body", b"").endswith(b"99\n"):
            disconnected.set()
            await asyncio.Event().wait()

    asyncio.run(stream_of("bursts", send, disconnected))
    assert LOG == ["waits", "cancelled", "closed"]


def test_a_connection_that_breaks_while_a_step_waits_cancels_the_step():
    LOG.clear()

    async def send(message):
        if message.get("body", b"").endswith(b"99\n"):
            raise OSError

    asyncio.run(stream_of("bursts", send, asyncio.Event()))
    assert LOG == ["waits", "cancelled", "closed"]


def test_an_error_of_a_middleware_is_not_one_of_the_stream():
    LOG.clear()
    sent = []

    async def send(message):
        sent.append(message.get("body"))
        if message.get("body") == b"0\n":
            raise LookupError("from a middleware")

    with pytest.raises(Exception) as raised:
        asyncio.run(stream_of("numbers", send, asyncio.Event()))
    assert "from a middleware" in repr(raised.value) + repr(getattr(raised.value, "exceptions", ""))
    assert sent == [None, b"0\n"]
    assert LOG == ["open"]


@action(triggers=WEB_GET)
async def timeouts() -> AsyncIterator[str]:
    yield "a"
    await asyncio.sleep(0)
    yield "b"
    with anyio.move_on_after(0.01):
        await asyncio.Event().wait()
    yield "c"
    await asyncio.sleep(0)
    yield "d"
    try:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
    except TimeoutError:
        yield "e"


def test_timeouts_in_a_generator_do_not_cancel_what_a_slow_client_reads():
    chunks = []

    async def send(message):
        await asyncio.sleep(0.05)
        chunks.append(message.get("body", b""))

    asyncio.run(stream_of("timeouts", send, asyncio.Event()))
    assert b"".join(chunks) == b'"a"\n"b"\n"c"\n"d"\n"e"\n'


@pytest.mark.parametrize("timeout", [asyncio.timeout, anyio.move_on_after])
def test_a_timeout_of_a_send_does_not_cancel_the_generator(timeout):
    chunks, late = [], []

    async def send(message):
        body = message.get("body", b"")
        limit = timeout(0.01 if body == b'"b"\n' else 5)
        try:
            if timeout is asyncio.timeout:
                async with limit:
                    await asyncio.sleep(0.05)
            else:
                with limit:
                    await asyncio.sleep(0.05)
                    chunks.append(body)
                if limit.cancelled_caught:
                    late.append(body)
                return
            chunks.append(body)
        except TimeoutError:
            late.append(body)

    asyncio.run(stream_of("timeouts", send, asyncio.Event()))
    assert b"".join(chunks) == b'"a"\n"c"\n"d"\n"e"\n'
    assert late == [b'"b"\n']


def test_a_generator_may_yield_inside_a_task_group():
    LOG.clear()
    chunks = []

    async def send(message):
        chunks.append(message.get("body", b""))

    asyncio.run(stream_of("grouped", send, asyncio.Event()))
    assert (b"".join(chunks), LOG) == (b"0\n1\n2\n", ["closed"])


@pytest.mark.parametrize("seen", [b"0\n", b"9\n"])
def test_a_client_that_leaves_closes_a_task_group(seen):
    """At a ``yield``, and where the generator waits."""
    LOG.clear()
    disconnected = asyncio.Event()

    async def send(message):
        if message.get("body", b"").endswith(seen):
            disconnected.set()
            await asyncio.sleep(0.01)

    asyncio.run(stream_of("grouped", send, disconnected, upto=10))
    assert LOG == ["closed"]


def test_a_generator_that_is_closed_early_runs_in_its_call():
    LOG.clear()
    disconnected = asyncio.Event()

    async def send(message):
        disconnected.set()

    asyncio.run(stream_of("flood", send, disconnected))
    assert LOG == ["same"]


@pytest.mark.anyio
async def test_an_item_waits_for_a_ping_that_is_being_sent():
    pinging, yielded = asyncio.Event(), asyncio.Event()

    @action(triggers=WEB_GET)
    async def pinged() -> AsyncIterator[str]:
        yield "first"
        await pinging.wait()
        yield "second"
        yielded.set()
        await asyncio.sleep(0)
        yield "third"

    sent: list[bytes] = []
    sending = 0

    async def send(message):
        nonlocal sending
        assert sending == 0, "another send has not ended"
        sending += 1
        if message.get("body", b"").startswith(b":") and not pinging.is_set():
            pinging.set()
            await yielded.wait()
            for _ in range(10):
                await asyncio.sleep(0)
        sending -= 1
        sent.append(message.get("body", b""))

    async def receive():
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()

    app = create_app(actions=[pinged], settings=Settings(env="dev", channel_ping=0.01))
    headers = [(b"accept", b"text/event-stream")]
    scope = {"type": "http", "method": "GET", "path": "/actions/pinged", "query_string": b"", "headers": headers}
    async with app.router.lifespan_context(app), asyncio.timeout(5):
        await app({**scope, "http_version": "1.1", "client": ("127.0.0.1", 1)}, receive, send)
    body = b"".join(each for each in sent if not each.startswith(b":"))
    assert body == b"".join(b'data: "%b"\n\n' % each for each in (b"first", b"second", b"third"))
