"""Nested actions in batches: the parents that ask in one go are asked for together.

A batch belongs to one operation, and so to one caller; nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from pydantic import BaseModel

from servey.actions import BatchInvoker
from servey.context import Context
from servey.graphql.operation import Operation
from servey.invoke import Plan, admit, perform_batch


class Batch:
    """Collects the keys of one action, and asks for them once no more of them come."""

    def __init__(self, plan: Plan, invoker: BatchInvoker, operation: Operation) -> None:
        self._plan = plan
        self._invoker = invoker
        self._operation = operation
        self._waiting: dict[Any, tuple[Any, asyncio.Future[Any]]] = {}
        self._admitted: asyncio.Task[None] | None = None
        self._seen = -1
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(self, context: Context) -> None:
        """Lets the caller through, asked once for all parents. Errors: Unauthenticated, Forbidden."""
        if self._admitted is None:
            self._admitted = asyncio.create_task(admit(self._plan, context))
        await asyncio.shield(self._admitted)

    def load(self, parent: Any) -> asyncio.Future[Any]:
        """A parent's result, when it comes. Equal keys are one, and are asked for in the order of their first sight."""
        extract = self._invoker.arg_extractor
        key = parent
        if extract is not None:
            extracted = extract(parent)
            key = extracted[0] if len(extracted) == 1 else tuple(extracted)
        place = hashable(key)
        if place not in self._waiting:
            loop = asyncio.get_running_loop()
            if not self._waiting:
                self._seen = -1
                loop.call_soon(self._ask_when_quiet)
            self._waiting[place] = (key, loop.create_future())
        return self._waiting[place][1]

    def _ask_when_quiet(self) -> None:
        # Parents come in over some turns of the loop; a turn without a new one says that all are there.
        if self._seen != len(self._waiting):
            self._seen = len(self._waiting)
            asyncio.get_running_loop().call_soon(self._ask_when_quiet)
            return
        waiting = list(self._waiting.values())
        self._waiting = {}
        size = self._invoker.max_batch_size
        for start in range(0, len(waiting), size):
            task = asyncio.create_task(self._ask(waiting[start : start + size]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, asked: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        context = self._operation.context.another()
        try:
            results = await perform_batch(self._plan, [key for key, _ in asked], context)
        except BaseException as error:
            results = [error] * len(asked)
            if not isinstance(error, Exception):
                for _, future in asked:
                    future.cancel()
                raise
        finally:
            self._operation.end(context)
        for (_, future), result in zip(asked, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
                future.exception()  # a parent that has failed otherwise does not look at it
            else:
                future.set_result(result)


def hashable(key: Any) -> Any:
    """Something that is equal for equal keys, and can be looked up."""
    try:
        hash(key)
        return key
    except TypeError:
        pass
    if isinstance(key, BaseModel):
        return type(key), hashable(key.__dict__)
    if dataclasses.is_dataclass(key) and not isinstance(key, type):
        return type(key), tuple(hashable(getattr(key, each.name)) for each in dataclasses.fields(key) if each.compare)
    if isinstance(key, dict):
        return tuple((name, hashable(value)) for name, value in key.items())
    if isinstance(key, list | tuple):
        return tuple(map(hashable, key))
    return id(key)
