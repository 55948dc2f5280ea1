"""What a cluster is tried with: every way of working whose results can be counted afterwards."""

import asyncio
import time
from functools import cache

from fastapi import Request
from redis.asyncio import Redis

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    Context,
    FixedRateTrigger,
    ScopeAccessControl,
    Settings,
    WebPageTrigger,
    action,
    websocket_event_channel,
)

numbers = websocket_event_channel("numbers", int, history=5000)


@cache
def notes_in_redis() -> Redis:
    return Redis.from_url(Settings().redis_url or "", socket_timeout=5, retry_on_timeout=True)


async def note(name: str, number: int) -> None:
    while True:
        try:
            await notes_in_redis().rpush(f"notes:{name}", number)
            return
        except OSError:
            await asyncio.sleep(0.1)


@action(triggers=WEB_GET)
async def echo(text: str) -> str:
    return text


@action(triggers=WEB_GET)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@action(triggers=WEB_POST)
async def tell(number: int) -> None:
    await numbers.publish(number)


@action(triggers=WEB_POST)
async def have_done(number: int, context: Context) -> str:
    return await context.enqueue(do, {"number": number})


@action
async def do(number: int) -> None:
    await asyncio.sleep(0.2)
    await note("done", number)


@action(triggers=FixedRateTrigger(1))
async def tick() -> None:
    await note("ticks", int(time.time()))


@action(triggers=WEB_GET)
async def noted(name: str) -> list[int]:
    return [int(each) for each in await notes_in_redis().lrange(f"notes:{name}", 0, -1)]


@action(triggers=WEB_GET)
async def fail() -> None:
    raise RuntimeError("on purpose")


@action(triggers=WEB_GET)
def in_thread(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


@action(triggers=WEB_GET)
async def tasks() -> int:
    return len(asyncio.all_tasks())


@action(triggers=WEB_GET)
async def caller(request: Request) -> dict[str, str]:
    assert request.client is not None
    return {"client": request.client.host, "url": str(request.url_for("echo"))}


@action(triggers=WebPageTrigger(), access_control=ScopeAccessControl("root"))
async def office(authorization: Authorization) -> str:
    return authorization.subject_id or ""
