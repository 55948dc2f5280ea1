"""Runs sibling fields concurrently, and lets all of them finish when one fails. Runs long computations one at a time.

graphql-core cancels the siblings of a failed field, or leaves them running in the background. A cancelled database call
costs a connection, and a call in the background outlives the resources of its operation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import BoundedSemaphore
from typing import Any, TypeVar

from graphql.pyutils import Undefined

from servey.compat.graphql import Executor, Path
from servey.core.errors import Overloaded
from servey.graphql.execution.siblings import Siblings

T = TypeVar("T")

MOST_WAITING = 8
"""How many long computations may run or wait in a process."""


class OneAtATime:
    """Runs long computations in one thread: with several, the event loop would wait for all of them at every step."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._places = BoundedSemaphore(MOST_WAITING)
        self._thread = ThreadPoolExecutor(1, "servey graphql")

    async def run(self, call: Callable[[], T]) -> T:
        """Return the result of a call. It keeps its place until it ends, also if the caller stops waiting.

        Errors: Overloaded if too many are waiting; whatever the call raises.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded(self._refusal)
        future: Future[T] = self._thread.submit(copy_context().run, call)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)


class FinishingExecutor(Executor[Any]):
    """graphql-core's executor, except that siblings of a failed field or list item finish before the error propagates."""

    def execute_fields(
        self, parent_type: Any, source_value: Any, path: Any, grouped_field_set: Any, position_context: Any
    ) -> Any:
        return self.execute_remaining({}, parent_type, source_value, path, grouped_field_set, position_context)

    def execute_remaining(
        self,
        results: dict[str, Any],
        parent_type: Any,
        source_value: Any,
        path: Any,
        grouped_field_set: Mapping[str, Any],
        position_context: Any,
    ) -> Any:
        """Execute these fields of an object and add their results to those that it has already."""
        pending: dict[Any, Awaitable[Any]] = {}
        for name, details in grouped_field_set.items():
            field_path = Path(path, name, parent_type.name)
            try:
                result = self.execute_field(parent_type, source_value, details, field_path, position_context)
            except Exception as error:
                if not pending:
                    raise
                return self._fail_after(pending, error)
            if result is not Undefined:
                results[name] = result
                if self.is_awaitable(result):
                    pending[name] = result
        return self._resolved(results, pending) if pending else results

    def complete_iterable_value(
        self, item_type: Any, field_details_list: Any, info: Any, path: Any, items: Any, position_context: Any
    ) -> Any:
        results: list[Any] = []
        pending: dict[Any, Awaitable[Any]] = {}
        for index, item in enumerate(items):
            item_path = path.add_key(index, None)
            try:
                is_pending = self.complete_list_item_value(
                    item, results, item_type, field_details_list, info, item_path, position_context
                )
            except Exception as error:
                if not pending:
                    raise
                return self._fail_after(pending, error)
            if is_pending:
                pending[index] = results[index]
        return self._resolved(results, pending) if pending else results

    async def _resolved(self, results: Any, pending: dict[Any, Awaitable[Any]]) -> Any:
        """Replace pending values by their results. Errors: the first error, after all of them have finished."""
        if len(pending) == 1:
            ((key, value),) = pending.items()
            results[key] = await value
            return results
        siblings = Siblings(pending.values())
        await siblings.finish(self.context_value.stop)
        for position, key in enumerate(pending):
            if position in siblings.errors:
                raise siblings.errors[position]
            results[key] = siblings.results[position]
        return results

    async def _fail_after(self, pending: dict[Any, Awaitable[Any]], error: Exception) -> Any:
        """Wait for values that are already pending, then raise the error."""
        await Siblings(pending.values()).finish(self.context_value.stop)
        raise error
