"""Fields that call an action: a function, or a method of their object, for one object or for many of them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from starlette.responses import Response

from servey.calls.invoke import Plan, authorize, authorize_with_params, perform, validated
from servey.calls.outcomes import ResultError
from servey.compat.graphql import OMITTED
from servey.core.actions import BatchInvoker
from servey.graphql.execution.batches import Batch
from servey.graphql.execution.operation import Operation
from servey.graphql.schema.shapes import Field, Place


class ActionField:
    """The resolver of a root field that calls a function. `SingleField` calls `value` itself."""

    def __init__(self, field: Field, plan: Plan) -> None:
        self._plan = plan
        self._place = field.place

    def __call__(self, source: Any, info: Any, /, **arguments: Any) -> Any:
        operation: Operation = info.context
        if operation.outcome is not None:
            return operation.outcome.take()
        return self.value(operation, sent(arguments))

    def value(self, operation: Operation, given: dict[str, Any]) -> Awaitable[Any]:
        """Call the function; await what this returns."""
        operation.needs_caller |= self._plan.guarded
        return called(operation, self._plan, given, self._place)


class MethodField:
    """The resolver of a field that is a method. `CompilingExecutor` calls `value` itself for the objects of a list."""

    def __init__(self, field: Field, plan: Plan) -> None:
        self.plan = plan
        self.place: Place = field.place

    def __call__(self, source: Any, info: Any, /, **arguments: Any) -> Any:
        info.context.count_calls(1)
        return self.value(info.context, source, sent(arguments))

    def value(self, operation: Operation, source: Any, given: dict[str, Any]) -> Awaitable[Any]:
        """Call the method of one object; await what this returns."""
        return called(operation, self.plan, {**given, "self": source}, self.place)


class BatchedField(MethodField):
    """The resolver of a field that is a method with a batch function."""

    def __init__(self, field: Field, plan: Plan, invoker: BatchInvoker) -> None:
        super().__init__(field, plan)
        self._invoker = invoker

    async def value(self, operation: Operation, source: Any, given: dict[str, Any]) -> Any:
        """Return the result for one object."""
        (value,) = await self.values(operation, [source], given)
        if isinstance(value, BaseException):
            raise value
        return value

    async def values(self, operation: Operation, sources: Sequence[Any], given: dict[str, Any]) -> list[Any]:
        """Return the result of each object, or its exception."""
        context = operation.start_call(self.plan)
        batch = operation.batches.get(self.plan.action)
        if batch is None:
            batch = operation.batches[self.plan.action] = Batch(self.plan, self._invoker, operation)
        results = await batch.load(sources, given, context)
        return [each if isinstance(each, Exception) else self._shown(each) for each in results]

    def _shown(self, value: Any) -> Any:
        try:
            return shown(value, self.place)
        except Exception as error:
            return error


def called(operation: Operation, plan: Plan, given: dict[str, Any], place: Place | None = None) -> Awaitable[Any]:
    """Call an action; await what this returns for the result, as the value of its field if there is a ``place``."""
    return (_called_in_turn if operation.limits_calls else _called)(operation, plan, given, place)


async def _called_in_turn(operation: Operation, plan: Plan, given: dict[str, Any], place: Place | None) -> Any:
    async with operation.slot():
        return await _called(operation, plan, given, place)


async def _called(operation: Operation, plan: Plan, given: dict[str, Any], place: Place | None) -> Any:
    context = operation.start_call(plan)
    try:
        if plan.authorizes:
            await authorize(plan, context)
        values = validated(plan, given, context)
        if plan.check_with_params is not None:
            await authorize_with_params(plan.check_with_params, values, context)
        result = await perform(plan, values, context)
        return result if place is None else shown(result, place)
    finally:
        if context.holds_resources:
            operation.defer_close(context)


def shown(value: Any, place: Place) -> Any:
    """Return a result as the value of its field. Errors: ResultError for a Response."""
    if isinstance(value, Response):
        raise ResultError("an action returned a Response, which is not a value of its GraphQL field")
    return value if place.dump is None else place.dump(value)


def sent(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return only the arguments that the client sent. The action has its own defaults."""
    return {name: value for name, value in arguments.items() if value is not OMITTED}
