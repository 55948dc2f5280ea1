"""The events of a background channel become jobs."""

import asyncio
import time

import pytest

from servey import WEB_POST, Authorization, ScopeAccessControl, action, background_action_channel
from tests.jobs.actions import QUICK, SEEN
from tests.jobs.conftest import running

pytestmark = pytest.mark.anyio


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
async def test_a_background_channel_calls_its_action_for_the_publisher(act, dev):
    async with running(act, channels=[channel], settings=dev) as runtime:
        async with runtime.context("test", authorization=Authorization("ada")) as context:
            from servey.calls.invoke import invoke

            await invoke(act.servey_action, {"what": "cat.png"}, context)
        async with asyncio.timeout(5):
            while not SEEN:
                await asyncio.sleep(0.01)
    assert SEEN == [("cat.png", "ada")]


async def test_code_outside_of_any_call_publishes_too(caplog, dev):
    async with running(channels=[channel], settings=dev) as runtime:
        await channel.publish("dog.png")
        async with asyncio.timeout(5):
            while not SEEN:
                await asyncio.sleep(0.01)
    assert SEEN == [("dog.png", None)]
    await channel.publish("late.png")
    assert "the app's lifespan is not running" in caplog.text
    await runtime.queue.aclose()


async def test_a_delayed_channel(dev):
    later = background_action_channel(resize, delay=0.2, name="later")
    async with running(channels=[later], settings=dev) as runtime:
        await later.publish("x")
        [state] = await runtime.queue.jobs()
        assert 0 < state.due_at - time.time() <= 0.2
