"""Resolvers: each field calls its action with its own context, like every other transport."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from pydantic import ValidationError

from servey.calls.invoke import Plan
from servey.calls.outcomes import Stream
from servey.calls.validation_errors import without_inputs
from servey.events.items import Event
from servey.events.subscriptions import Subscription, open_subscription
from servey.graphql.execution.methods import ActionField, BatchedField, MethodField, called, sent
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
        return _of_stream(each, plan) if each.action.signature.streams else ActionField(each, plan)
    if each.action.batch_invoker is not None:
        return BatchedField(each, plan, each.action.batch_invoker)
    return MethodField(each, plan)


def _of_stream(each: Field, plan: Plan) -> Resolve:
    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        info.context.needs_caller |= plan.guarded
        return _stream(called(info.context, plan, sent(arguments)), each.place)

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


async def _stream(result: Any, place: Place) -> AsyncIterator[Any]:
    stream: Stream = await result
    return stream if place.dump is None else _dumped(stream, place)


async def _dumped(stream: Stream, place: Place) -> AsyncIterator[Any]:
    assert place.dump is not None
    async for item in stream:
        yield place.dump(item)
