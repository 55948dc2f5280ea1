"""What resolves a field: an action, called as on every other way, in a context of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response

from servey.events import Event
from servey.graphql.batches import Batch
from servey.graphql.fields import ChannelField
from servey.graphql.operation import Operation
from servey.graphql.schema import Resolve
from servey.graphql.shapes import NO_DEFAULT, Field, Place
from servey.invoke import Plan, ResultError, Stream, admit, perform, validate
from servey.runtime import Runtime
from servey.subscriptions import Subscription, open_subscription


def resolver_of(runtime: Runtime, each: Field | ChannelField) -> Resolve:
    """``resolve(source, info, **arguments)`` for a field."""
    if isinstance(each, ChannelField):
        return _of_channel(each, runtime)
    plan = runtime.plan(each.action)
    if each.action.class_name is None:
        return _of_action(each, plan)
    if each.action.batch_invoker is not None:
        return _of_batch(each, plan)
    return _of_method(each, plan)


def _of_action(each: Field, plan: Plan) -> Resolve:
    defaults = _defaults(each)
    finish = _stream if each.action.signature.streams else _finished

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        return finish(_called(info.context, plan, _without(arguments, defaults)), each.place)

    return resolve


def _of_method(each: Field, plan: Plan) -> Resolve:
    defaults = _defaults(each)

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        given = {**_without(arguments, defaults), "self": source}
        return _finished(_called(info.context, plan, given), each.place)

    return resolve


def _of_batch(each: Field, plan: Plan) -> Resolve:
    invoker = plan.action.batch_invoker
    assert invoker is not None

    async def result(operation: Operation, source: Any) -> Any:
        batch = operation.batches.get(plan.action)
        if batch is None:
            batch = operation.batches[plan.action] = Batch(plan, invoker, operation)
        context = operation.begin(plan)
        await batch.admit(context)
        if plan.late is not None:
            await validate(plan, {"self": source}, context)
        return await batch.load(source)

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        return _finished(result(info.context, source), each.place)

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
        operation.end(context)
        return _values(opened, each.place)

    return subscribe


async def _values(opened: Subscription, place: Place) -> AsyncIterator[Any]:
    async for item in opened:
        # Of events that were lost there is nothing to show.
        if isinstance(item, Event):
            yield item.value if place.dump is None else place.dump(item.value)


async def _called(operation: Operation, plan: Plan, given: dict[str, Any]) -> Any:
    context = operation.begin(plan)
    try:
        await admit(plan, context)
        return await perform(plan, await validate(plan, given, context), context)
    finally:
        operation.end(context)


async def _finished(result: Any, place: Place) -> Any:
    value = await result
    if isinstance(value, Response):
        raise ResultError("an action answered with a whole response, which is no value of its GraphQL field")
    return value if place.dump is None else place.dump(value)


async def _stream(result: Any, place: Place) -> AsyncIterator[Any]:
    stream: Stream = await result
    return stream if place.dump is None else _dumped(stream, place)


async def _dumped(stream: Stream, place: Place) -> AsyncIterator[Any]:
    assert place.dump is not None
    async for item in stream:
        yield place.dump(item)


def _defaults(each: Field) -> dict[str, Any]:
    shown = each.arguments.values()
    return {member.key: member.default for member in shown if member.default is not NO_DEFAULT}


def _without(arguments: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without those that are the schema's own defaults: the function has them itself."""
    for name, default in defaults.items():
        if arguments.get(name, NO_DEFAULT) is default:
            del arguments[name]
    return arguments
