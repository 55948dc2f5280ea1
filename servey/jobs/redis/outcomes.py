"""Records the outcomes of a worker's jobs, many in one round trip when many end at once."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import ResponseError

from servey.core.queues import MOST_DEAD
from servey.jobs.redis import scripts
from servey.jobs.redis.queue import RedisQueue

_MOST = 100
_MOST_BYTES = 1 << 20
_CLOSE_SECONDS = 2


class Outcomes:
    """The outcomes of one worker.

    The first is sent at once. Those that arrive while Redis has not answered are sent together afterwards.
    """

    def __init__(self, queue: RedisQueue) -> None:
        self._queue = queue
        self._waiting: list[tuple[list[Any], asyncio.Future[bool]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def record(self, outcome: list[Any]) -> bool:
        """Record one outcome, the arguments of `scripts.FINISH`; return its answer. Errors: redis.RedisError, OSError."""
        recorded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, recorded))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await recorded

    async def _send(self) -> None:
        try:
            while self._waiting:
                await self._send_together(self._next())
        finally:
            self._sending = None

    def _next(self) -> list[tuple[list[Any], asyncio.Future[bool]]]:
        count = size = 0
        for outcome, _ in self._waiting[:_MOST]:
            size += sum(len(each) for each in outcome if isinstance(each, bytes))
            if count and size > _MOST_BYTES:
                break
            count += 1
        batch = self._waiting[:count]
        del self._waiting[:count]
        return batch

    async def _send_together(self, batch: list[tuple[list[Any], asyncio.Future[bool]]]) -> None:
        args = [each for outcome, _ in batch for each in outcome]
        try:
            answers = await self._queue.scripts.run(scripts.FINISH, self._queue.keep_ms, MOST_DEAD, *args)
        except Exception as error:
            answers = [error] * len(batch)
        for (_, recorded), answer in zip(batch, answers, strict=True):
            if recorded.done():
                continue  # its worker was stopped meanwhile
            if isinstance(answer, bytes):
                answer = ResponseError(answer.decode(errors="replace"))
            if isinstance(answer, Exception):
                recorded.set_exception(answer)
            else:
                recorded.set_result(bool(answer))

    async def aclose(self) -> None:
        """Wait for what is being sent."""
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=_CLOSE_SECONDS)
