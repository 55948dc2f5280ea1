"""Batched nested actions: one call loads the field for many parents, like a DataLoader.

A batch belongs to one operation and one caller. Results are not cached between batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

from servey.calls.batches import hashable, key_of
from servey.calls.invoke import Plan, authorize, perform_batch, validate
from servey.core.actions import BatchInvoker
from servey.core.context import Context
from servey.graphql.execution.siblings import Siblings


class BatchOwner(Protocol):
    """The operation of a batch."""

    def start_call(self, plan: Plan) -> Context:
        """Return a new context for one call."""
        ...

    def slot(self) -> AbstractAsyncContextManager[Any]:
        """Limit how many calls run at once."""
        ...

    def defer_close(self, context: Context) -> None:
        """Keep the resources of a call open until the response is sent."""
        ...

    def stop(self) -> None:
        """Cancel the operation: no further call starts."""
        ...


@dataclass(frozen=True)
class _Arguments:
    """Validated arguments, and a hashable key that is equal for equal ones."""

    values: dict[str, Any]
    key: Any


_NO_ARGUMENTS = _Arguments({}, ())


@dataclass
class _Waiting:
    """The keys that wait for one call.

    Shape: ``entries`` has each key with the future of its result, by the key's hashable form.
    """

    arguments: dict[str, Any]
    entries: dict[Any, tuple[Any, asyncio.Future[Any]]] = field(default_factory=dict)
    last_count: int = -1


class Batch:
    """Collects the keys of one action, for each set of arguments, and dispatches them in chunks."""

    def __init__(self, plan: Plan, invoker: BatchInvoker, operation: BatchOwner) -> None:
        assert plan.batch is not None
        self._plan = plan
        self._takes = plan.batch.arguments
        self._invoker = invoker
        self._operation = operation
        self._waiting: dict[Any, _Waiting] = {}
        self._arguments: dict[Any, _Arguments] = {}
        self._authorized: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, parents: Sequence[Any], given: dict[str, Any], context: Context) -> list[Any]:
        """Return the result of each parent for the arguments of its field, or its exception. Equal keys are loaded once, in
        the order in which they first appear.

        Errors: Unauthenticated, Forbidden.
        """
        if self._authorized is None:
            self._authorized = checked = asyncio.get_running_loop().create_future()
            try:
                await authorize(self._plan, context)
            except BaseException as error:
                checked.set_exception(error)
                checked.exception()  # mark it as retrieved: there may be no other parent
                raise
            checked.set_result(None)
        else:
            await asyncio.shield(self._authorized)
        results: list[Any] = []
        for parent, arguments in zip(parents, await self._arguments_of(parents, given, context), strict=True):
            try:
                if isinstance(arguments, BaseException):
                    raise arguments
                results.append(self._future(parent, arguments))
            except Exception as error:
                results.append(error)
        for position, each in enumerate(results):
            if isinstance(each, asyncio.Future):
                try:
                    results[position] = await each
                except Exception as error:
                    results[position] = error
        return results

    async def _arguments_of(
        self, parents: Sequence[Any], given: dict[str, Any], context: Context
    ) -> list[_Arguments | BaseException]:
        """Return the validated arguments that the batch function takes, or the exception, for each parent."""
        if not parents or (not self._takes and self._plan.check_with_params is None):
            return [_NO_ARGUMENTS] * len(parents)
        if self._plan.check_with_params is not None:
            # The rule may look at the parent, and may wait: the parents would else join the batch one after another.
            checks = Siblings([self._checked(parent, given, context) for parent in parents])
            await checks.finish(self._operation.stop)
            made: list[_Arguments | BaseException] = checks.results
            for place, error in checks.errors.items():
                made[place] = error
            return made
        key = hashable(given)
        results: list[_Arguments | BaseException] = []
        for parent in parents:
            found = self._arguments.get(key)
            if found is None:
                try:
                    found = self._arguments[key] = await self._checked(parent, given, context)
                except Exception as error:
                    results.append(error)
                    continue
            results.append(found)
        return results

    async def _checked(self, parent: Any, given: dict[str, Any], context: Context) -> _Arguments:
        values = await validate(self._plan, {**given, "self": parent}, context)
        taken = {name: values[name] for name in self._takes}
        return _Arguments(taken, hashable(taken))

    async def close(self) -> None:
        """Cancel the calls that are still running, and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _future(self, parent: Any, arguments: _Arguments) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        place = arguments.key
        waiting = self._waiting.get(place)
        if waiting is None:
            waiting = self._waiting[place] = _Waiting(arguments.values)
            loop.call_soon(self._dispatch_when_settled, place)
        key = key_of(self._invoker, parent)
        known = hashable(key)
        entry = waiting.entries.get(known)
        if entry is None:
            entry = waiting.entries[known] = (key, loop.create_future())
        return entry[1]

    def _dispatch_when_settled(self, place: Any) -> None:
        # Wait until one event-loop iteration adds no key, then dispatch the batch.
        waiting = self._waiting[place]
        if waiting.last_count != len(waiting.entries):
            waiting.last_count = len(waiting.entries)
            asyncio.get_running_loop().call_soon(self._dispatch_when_settled, place)
            return
        del self._waiting[place]
        entries = list(waiting.entries.values())
        size = self._invoker.max_batch_size
        for start in range(0, len(entries), size):
            task = asyncio.create_task(self._dispatch(entries[start : start + size], waiting.arguments))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _dispatch(self, entries: list[tuple[Any, asyncio.Future[Any]]], arguments: dict[str, Any]) -> None:
        context: Context | None = None
        try:
            context = self._operation.start_call(self._plan)
            async with self._operation.slot():
                keys = [key for key, _ in entries]
                results = await perform_batch(self._plan, keys, _own(arguments), context)
        except BaseException as error:
            results = [error] * len(entries)
            if not isinstance(error, Exception):
                for _, future in entries:
                    future.cancel()
                raise
        finally:
            if context is not None:
                self._operation.defer_close(context)
        for (_, future), result in zip(entries, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
                future.exception()  # mark it as retrieved: nobody awaits it if the parent failed for another reason
            else:
                future.set_result(result)


def _own(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of validated arguments for one call, which may change them."""
    try:
        return deepcopy(arguments)
    except Exception:  # a type of the app's own that cannot be copied
        return arguments
