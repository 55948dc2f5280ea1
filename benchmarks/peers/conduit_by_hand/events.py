"""An event and a job after a new article; browsers get the event over a websocket."""

import os
from collections.abc import AsyncIterator
from contextlib import suppress

from anyio import create_task_group
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel

REDIS = RedisSettings.from_dsn(os.environ["REDIS_URL"])
STREAM = "conduit:published"
HISTORY = 20
router = APIRouter()


class Published(BaseModel):
    """The event of a new article."""

    slug: str
    title: str
    author: str


async def connect() -> ArqRedis:
    return await create_pool(REDIS)


async def announce(redis: ArqRedis, article_id: int, event: Published) -> None:
    await redis.enqueue_job("notify_followers", article_id)
    await redis.xadd(STREAM, {"event": event.model_dump_json()}, maxlen=HISTORY, approximate=False)


async def published(redis: ArqRedis) -> AsyncIterator[Published]:
    """Yield the last events, then each new one."""
    last: bytes | str = "0"
    while True:
        for _, entries in await redis.xread({STREAM: last}, block=5000):
            for _, fields in entries:
                yield Published.model_validate_json(fields[b"event"])
            last = entries[-1][0]


async def send_events(socket: WebSocket) -> None:
    async for event in published(socket.app.state.redis):
        await socket.send_text(event.model_dump_json())


@router.websocket("/subscription/published")
async def subscribe(socket: WebSocket) -> None:
    await socket.accept()
    async with create_task_group() as tasks:
        tasks.start_soon(send_events, socket)
        with suppress(WebSocketDisconnect):
            while True:
                await socket.receive_text()
        tasks.cancel_scope.cancel()
