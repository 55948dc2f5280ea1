"""What every client of Redis that Servey makes must do, whatever redis-py does."""

import asyncio

import pytest
from redis.asyncio.connection import Connection

from servey.caching.redis_backend import RedisBackend
from servey.jobs.redis.client import client_of
from tests.serving import RedisServer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", ["cache", "jobs"])
async def test_a_task_that_is_cancelled_as_its_write_ends_is_cancelled(redis: RedisServer, monkeypatch, kind):
    client = RedisBackend(redis.url).client if kind == "cache" else client_of(redis.url, "of-tests:")
    await client.set("key", "value", ex=60)
    write = Connection._send_packed_command

    async def cancelled_in_this_moment(self: Connection, command: object) -> None:
        await write(self, command)
        asking.cancel()

    monkeypatch.setattr(Connection, "_send_packed_command", cancelled_in_this_moment)
    asking = asyncio.create_task(client.get("key"))
    await asyncio.wait({asking})
    assert asking.cancelled()

    # Its connection is not left with an answer that another call would take for its own.
    monkeypatch.undo()
    assert await client.get("nothing") is None
    await client.aclose(close_connection_pool=True)
