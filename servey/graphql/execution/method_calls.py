"""Calls the methods of all objects of a list together, without graphql-core's work for each field of each object.

Arguments are coerced once for the list; a batched method gets all of its objects in one call. What graphql-core decides
stays with it: it completes a value that the compiled function of the field does not accept, and handles each error.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from graphql import GraphQLField, GraphQLObjectType, get_argument_values

from servey.compat.graphql import Executor, FieldDetails, Path
from servey.graphql.execution.limits import LimitExceeded
from servey.graphql.execution.methods import BatchedField, MethodField, sent
from servey.graphql.execution.operation import Operation
from servey.graphql.execution.siblings import Siblings

IMMUTABLE = (str, int, float, bool, type(None), enum.Enum, dt.date, dt.time, dt.timedelta, Decimal, UUID)
"""The types of arguments that several calls may share."""

Finish: TypeAlias = Callable[[Any, Operation], Any]
"""Completes a value; any exception means that graphql-core completes it."""


@dataclass(frozen=True)
class CompiledMethod:
    """A selected field that is a method.

    Shape: ``name`` is its response name; ``finish`` is None if graphql-core completes its values.
    """

    name: str
    field: GraphQLField
    resolver: MethodField
    finish: Finish | None

    @property
    def is_bound(self) -> bool:
        """Whether the schema still resolves the field as it did when the selection was compiled."""
        return self.field.resolve is self.resolver


@dataclass(frozen=True)
class SelectedMethod:
    """A method in one execution, with its arguments."""

    method: CompiledMethod
    details: list[FieldDetails]
    given: dict[str, Any]


def selected_methods(
    executor: Executor[Any], methods: Sequence[CompiledMethod] | None, groups: Mapping[str, list[FieldDetails]]
) -> list[SelectedMethod] | None:
    """Return the methods with their arguments, or None if graphql-core must resolve the fields: something wraps resolvers,
    an argument is invalid, or one call could change the arguments of another."""
    if methods is None or executor.middleware_manager or executor.abort_signal is not None:
        return None
    found = []
    for method in methods:
        if not method.is_bound:
            return None
        details = groups[method.name]
        first = details[0]
        given: dict[str, Any] = {}
        if method.field.args or first.node.arguments:
            try:
                given = sent(
                    get_argument_values(
                        method.field,
                        first.node,
                        executor.variable_values,
                        first.fragment_variable_values,
                        executor.hide_suggestions,
                    )
                )
            except Exception:
                return None
            if not all(isinstance(value, IMMUTABLE) for value in given.values()):
                return None
        found.append(SelectedMethod(method, details, given))
    return found


@dataclass(frozen=True)
class _Raised:
    """The exception of a call."""

    error: Exception


class MethodCalls:
    """The method calls of one list.

    Shape: ``results`` are the objects' parts of the response, where the values of the methods are still missing; ``path`` is
    that of the list.
    """

    def __init__(
        self,
        executor: Executor[Any],
        selected: list[SelectedMethod],
        sources: Sequence[Any],
        results: list[dict[str, Any] | None],
        type_: GraphQLObjectType,
        item_type: Any,
        details: list[FieldDetails],
        path: Path,
        position_context: Any,
    ) -> None:
        self._executor = executor
        self._operation: Operation = executor.context_value
        self._selected = selected
        self._sources = sources
        self._results: list[Any] = results  # each is a dict until all of its methods are completed
        self._type = type_
        self._item_type = item_type
        self._details = details
        self._path = path
        self._position_context = position_context
        self._left = [len(selected)] * len(sources)
        self._failures: dict[int, dict[int, Exception]] = {}
        self._failed: dict[int, Exception] = {}

    async def run(self) -> list[dict[str, Any] | None]:
        """Return the completed list. Errors: the first error of an item, after all calls have finished."""
        positions = [index for index, result in enumerate(self._results) if result is not None]
        calls: list[Awaitable[None]] = []
        for place, each in enumerate(self._selected):
            if positions and isinstance(each.method.resolver, BatchedField):
                calls.append(self._load(place, each, each.method.resolver, positions))
        calls += [
            self._call(place, each, index)
            for index in positions
            for place, each in enumerate(self._selected)
            if not isinstance(each.method.resolver, BatchedField)
        ]
        await self._finish_all(calls)
        if self._failed:
            raise self._failed[min(self._failed)]
        return self._results

    async def _call(self, place: int, each: SelectedMethod, index: int) -> None:
        try:
            value = await each.method.resolver.value(self._operation, self._sources[index], each.given)
        except Exception as error:
            value = _Raised(error)
        pending = self._settle(place, each, index, value)
        if pending is not None:
            await pending

    async def _load(self, place: int, each: SelectedMethod, resolver: BatchedField, positions: list[int]) -> None:
        try:
            values = await resolver.values(self._operation, [self._sources[index] for index in positions], each.given)
        except Exception as error:
            values = [error] * len(positions)
        pending = []
        for index, value in zip(positions, values, strict=True):
            more = self._settle(place, each, index, _Raised(value) if isinstance(value, Exception) else value)
            if more is not None:
                pending.append(more)
        await self._finish_all(pending)

    async def _finish_all(self, calls: list[Awaitable[None]]) -> None:
        if len(calls) == 1:
            await calls[0]
        elif calls:
            siblings = Siblings(calls)
            await siblings.finish(self._operation.stop)
            for error in siblings.errors.values():
                raise error  # only what is no Exception: every other error is an error of a field

    def _settle(self, place: int, each: SelectedMethod, index: int, value: Any) -> Awaitable[None] | None:
        """Put a value into the response. Returns what is still to be awaited for it."""
        try:
            if type(value) is _Raised:
                raise value.error
            if not self._finish(each, index, value):
                completed = self._completed(each, index, value)
                if self._executor.is_awaitable(completed):
                    return self._awaited(place, each, index, completed)
                self._results[index][each.method.name] = completed
        except Exception as error:
            self._fail(place, each, index, error)
        self._count_down(index)
        return None

    async def _awaited(self, place: int, each: SelectedMethod, index: int, completed: Awaitable[Any]) -> None:
        try:
            self._results[index][each.method.name] = await completed
        except Exception as error:
            self._fail(place, each, index, error)
        self._count_down(index)

    def _finish(self, each: SelectedMethod, index: int, value: Any) -> bool:
        """Put a value into the response; return False if graphql-core has to complete it. Errors: LimitExceeded."""
        finish, operation = each.method.finish, self._operation
        if finish is None:
            return False
        before = operation.nodes
        try:
            self._results[index][each.method.name] = finish(value, operation)
        except LimitExceeded:
            raise
        except Exception:
            operation.nodes = before
            return False
        return True

    def _completed(self, each: SelectedMethod, index: int, value: Any) -> Any:
        executor, path = self._executor, self._path_of(each, index)
        nodes = [details.node for details in each.details]
        info = executor.build_resolve_info(each.method.field, nodes, self._type, path)
        return executor.complete_value(each.method.field.type, each.details, info, path, value, self._position_context)

    def _path_of(self, each: SelectedMethod, index: int) -> Path:
        return Path(self._path.add_key(index, None), each.method.name, self._type.name)

    def _fail(self, place: int, each: SelectedMethod, index: int, error: Exception) -> None:
        try:
            self._executor.handle_field_error(error, each.method.field.type, each.details, self._path_of(each, index))
        except Exception as located:
            self._failures.setdefault(index, {})[place] = located

    def _count_down(self, index: int) -> None:
        self._left[index] -= 1
        failures = self._failures.get(index)
        if self._left[index] or failures is None:
            return
        self._results[index] = None
        try:
            self._executor.handle_field_error(
                failures[min(failures)], self._item_type, self._details, self._path.add_key(index, None)
            )
        except Exception as located:
            self._failed[index] = located
