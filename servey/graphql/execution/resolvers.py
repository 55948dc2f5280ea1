"""Resolvers: each field calls its action with its own context, like every other transport."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from servey.calls.invoke import Plan, authorize, perform, validate
from servey.calls.outcomes import ResultError, Stream
from servey.calls.validation_errors import without_inputs
from servey.compat.graphql import OMITTED
from servey.events.items import Event
from servey.events.subscriptions import Subscription, open_subscription
from servey.graphql.execution.batches import Batch
from servey.graphql.execution.operation import Operation
from servey.graphql.schema.build import Resolve
from servey.graphql.schema.fields import ChannelField
from servey.graphql.schema.shapes import Field, Place
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")


def resolver_of(runtime: Runtime, each: Field | ChannelField) -> Resolve:
    """Return ``resolve(source, info, **arguments)`` for a field."""
    if isinstance(each, ChannelField):
        return _of_channel(each, runtime)
    plan = runtime.plan(each.action)
    if each.action.class_name is None:
        return _of_action(each, plan)
    if each.action.batch_invoker is not None:
        return _of_batch(each, plan)
    return _of_method(each, plan)


def _of_action(each: Field, plan: Plan) -> Resolve:
    finish = _stream if each.action.signature.streams else _finished

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        info.context.needs_caller |= plan.guarded
        return finish(_called(info.context, plan, sent(arguments)), each.place)

    return resolve


def _of_method(each: Field, plan: Plan) -> Resolve:

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        info.context.count_call()
        given = {**sent(arguments), "self": source}
        return _finished(_called(info.context, plan, given), each.place)

    return resolve


def _of_batch(each: Field, plan: Plan) -> Resolve:
    invoker = plan.action.batch_invoker
    assert invoker is not None

    async def result(operation: Operation, source: Any, given: dict[str, Any]) -> Any:
        batch = operation.batches.get(plan.action)
        if batch is None:
            batch = operation.batches[plan.action] = Batch(plan, invoker, operation)
        return await batch.load(source, given, operation.start_call(plan))

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        info.context.count_call()
        return _finished(result(info.context, source, sent(arguments)), each.place)

    return resolve


def _of_channel(each: ChannelField, runtime: Runtime) -> Resolve:
    async def subscribe(source: Any, info: Any, /, subscriber_id: str | None = None) -> AsyncIterator[Any]:
        operation: Operation = info.context
        context = operation.context.another()
        authorization = await context.authorize()
        opened = await open_subscription(runtime, each.channel.name, authorization, subscriber_id=subscriber_id)

        async def close() -> None:
            opened.close()

        context.resources.on_close(close)
        operation.defer_close(context)
        return _values(opened, each.place)

    return subscribe


async def _values(opened: Subscription, place: Place) -> AsyncIterator[Any]:
    async for item in opened:
        # Notices about lost events have no value to send.
        if not isinstance(item, Event):
            continue
        try:
            value = item.value if place.dump is None else place.dump(item.value)
        except ValidationError as error:
            # Published by another version of the app; the events after it may fit again.
            text = without_inputs(error)[:500]
            logger.warning("channel '%s': an event does not fit its type and is skipped: %s", item.channel.name, text)
            continue
        yield value


async def _called(operation: Operation, plan: Plan, given: dict[str, Any]) -> Any:
    async with operation.slot():
        context = operation.start_call(plan)
        try:
            await authorize(plan, context)
            return await perform(plan, await validate(plan, given, context), context)
        finally:
            operation.defer_close(context)


async def _finished(result: Any, place: Place) -> Any:
    value = await result
    if isinstance(value, Response):
        raise ResultError("an action returned a Response, which is not a value of its GraphQL field")
    return value if place.dump is None else place.dump(value)


async def _stream(result: Any, place: Place) -> AsyncIterator[Any]:
    stream: Stream = await result
    return stream if place.dump is None else _dumped(stream, place)


async def _dumped(stream: Stream, place: Place) -> AsyncIterator[Any]:
    assert place.dump is not None
    async for item in stream:
        yield place.dump(item)


def sent(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return only the arguments that the client sent. The action has its own defaults."""
    return {name: value for name, value in arguments.items() if value is not OMITTED}
