"""The console's pages of channels."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from servey.console import channels
from servey.console.access import audit
from servey.console.page import Console, live, render, see
from servey.core.access import Authorization
from servey.core.channels import EventChannel, WebsocketEventChannel
from servey.core.errors import ActionError, Forbidden
from servey.http.bodies import read_form
from servey.runtime.runtime import Runtime
from servey.ws.studio import TestEvent, channel_of, publish_test_event


async def show_channels(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The channels of the app."""
    rows = channels.rows_of(console.runtime, console.samples)
    return await render(console, request, "channels", "Channels", rows=rows)


async def show_channel(console: Console, request: Request, caller: Authorization | None) -> Response:
    """One channel. Errors: NotFound."""
    channel = channel_of(console.runtime, request.path_params["name"])
    is_published = request.query_params.get("published") == "1"
    return await _page(console, request, channel, is_published=is_published)


async def _page(
    console: Console,
    request: Request,
    channel: EventChannel,
    *,
    is_published: bool = False,
    problem: str = "",
    given: str | None = None,
    to: str = "",
) -> Response:
    runtime, samples = console.runtime, console.samples
    row, schema = channels.row_of(runtime, channel, samples), channels.schema_of(channel)
    event = channels.sample_of(schema, schema.get("$defs", {}))
    answer = await render(
        console,
        request,
        "channel",
        "Channels",
        row=row,
        line=channels.line_of(row, samples),
        chart=channels.CHART,
        subjects=channels.subjects_of(runtime, channel),
        past=await channels.past_of(runtime, channel),
        schema=_pretty(schema),
        can_publish=_can_publish(runtime, channel),
        event=_pretty(event) if given is None else given,
        to=to,
        problem=problem,
        is_published=is_published,
        origin=str(request.base_url).rstrip("/"),
    )
    answer.status_code = 422 if problem else 200
    return answer


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _can_publish(runtime: Runtime, channel: EventChannel) -> bool:
    """Whether an operator may publish a test event: the others call an action or another system on behalf of the app."""
    return runtime.settings.is_dev or isinstance(channel, WebsocketEventChannel)


async def publish(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Publish a test event. Errors: NotFound, Forbidden, Overloaded."""
    channel = channel_of(console.runtime, request.path_params["name"])
    form = await read_form(request)
    if not _can_publish(console.runtime, channel):
        raise Forbidden("In production, test events can be published to channels with subscribers only")
    text, to = str(form.get("event", "")), str(form.get("to", "")).strip()
    try:
        await publish_test_event(channel, TestEvent(event=from_json(text), subscriber_id=to or None))
    except ValueError as error:
        return await _page(console, request, channel, problem=f"This is not JSON: {error}", given=text, to=to)
    except ActionError as error:
        if error.status != 422:
            raise
        return await _page(console, request, channel, problem=_text_of(error), given=text, to=to)
    audit(request, caller, f"test event of the channel {channel.name}")
    return see(console, request, f"channels/{channel.name}", {"published": "1"})


def _text_of(error: ActionError) -> str:
    if isinstance(error.detail, str):
        return error.detail
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'event'}: {each['msg']}" for each in error.detail)


async def live_channels(console: Console, request: Request, caller: Authorization | None) -> Response:
    """A stream of server-sent events, one whenever the numbers of a channel have changed."""

    async def digest() -> object:
        rows = channels.rows_of(console.runtime, console.samples)
        return hash(tuple((each.subscribers, each.published, each.delivered, each.dropped) for each in rows))

    return live(console.runtime, digest)
