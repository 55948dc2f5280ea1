"""The events that every peer of the fan-out benchmark sends; each line of standard input says how many, and when."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from pydantic import BaseModel


class Event(BaseModel):
    """An event of 170 bytes of JSON."""

    sent: int
    number: int
    text: str = "x" * 113


@contextlib.asynccontextmanager
async def when_told(publish: Callable[[Event], Awaitable[None]]) -> AsyncIterator[None]:
    """Publish the number of events that each line gives, with the pause that it gives."""

    async def run() -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            count, pause = int(line.split()[0]), float(line.split()[1])
            begun = time.monotonic()
            for number in range(count):
                await publish(Event(sent=time.time_ns(), number=10_000_000 + number))
                await asyncio.sleep(max(0.0, begun + (number + 1) * pause - time.monotonic()))

    task = asyncio.create_task(run())
    yield
    task.cancel()
