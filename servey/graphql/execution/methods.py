"""Fields that call an action: a function, or a method of their object, for one object or for many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from servey.calls.invoke import Plan, authorize, perform, validate
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

    async def value(self, operation: Operation, given: dict[str, Any]) -> Any:
        """Return the function's result."""
        operation.needs_caller |= self._plan.guarded
        return shown(await called(operation, self._plan, given), self._place)


class MethodField:
    """The resolver of a field that is a method. `CompilingExecutor` calls `value` itself for the objects of a list."""

    def __init__(self, field: Field, plan: Plan) -> None:
        self.plan = plan
        self.place: Place = field.place

    def __call__(self, source: Any, info: Any, /, **arguments: Any) -> Any:
        info.context.count_calls(1)
        return self.value(info.context, source, sent(arguments))

    async def value(self, operation: Operation, source: Any, given: dict[str, Any]) -> Any:
        """Return the method's result for one object."""
        return shown(await called(operation, self.plan, {**given, "self": source}), self.place)


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


async def called(operation: Operation, plan: Plan, given: dict[str, Any]) -> Any:
    """Return the result of one call of an action."""
    if operation.limits_calls:
        async with operation.slot():
            return await _called(operation, plan, given)
    return await _called(operation, plan, given)


async def _called(operation: Operation, plan: Plan, given: dict[str, Any]) -> Any:
    context = operation.start_call(plan)
    try:
        if plan.authorizes:
            await authorize(plan, context)
        return await perform(plan, await validate(plan, given, context), context)
    finally:
        operation.defer_close(context)


def shown(value: Any, place: Place) -> Any:
    """Return a result as the value of its field. Errors: ResultError for a Response."""
    if isinstance(value, Response):
        raise ResultError("an action returned a Response, which is not a value of its GraphQL field")
    return value if place.dump is None else place.dump(value)


def sent(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return only the arguments that the client sent. The action has its own defaults."""
    return {name: value for name, value in arguments.items() if value is not OMITTED}
