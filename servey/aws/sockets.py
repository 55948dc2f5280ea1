"""Handle the websocket events of API Gateway: connections and client frames.

Source: API Gateway developer guide, "Working with WebSocket APIs".
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from servey.aws.bus import ApiGatewayBus
from servey.aws.connections import Listener
from servey.core.access import Authorization
from servey.core.channels import WebsocketEventChannel
from servey.core.errors import ActionError, Forbidden, NotFound, ServeyError, Unauthenticated
from servey.events.subscriptions import authorize_subscriber, check_access
from servey.http.origins import origin_is_known
from servey.http.tokens import caller_token
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

SUBPROTOCOL = "servey"
LARGEST_FRAME_BYTES = 32 * 1024


class Frames(Protocol):
    """Parse and serialize frames, in the same way on every kind of socket."""

    def read_frame(self, text: str | None, limit_bytes: int) -> Any: ...
    def server_frame(self, kind: str, **fields: Any) -> str: ...
    def error_frame(self, error: ActionError, channel: str | None = None) -> str: ...
    def token_of(self, subprotocols: list[str]) -> str | None: ...


async def answer_socket(runtime: Runtime, frames: Frames, event: Mapping[str, Any]) -> dict[str, Any]:
    """Handle one event and return the response for API Gateway. Any status but 200 refuses the connection."""
    bus = runtime.bus
    if not isinstance(bus, ApiGatewayBus):
        raise ServeyError("received a websocket event, but SERVEY_WEBSOCKET_ENDPOINT is not set")
    context = event["requestContext"]
    connection_id: str = context["connectionId"]
    if context["eventType"] == "CONNECT":
        return await _connect(runtime, frames, bus, connection_id, event)
    if context["eventType"] == "DISCONNECT":
        await bus.connections.disconnect(connection_id)
    else:
        await _Session(runtime, frames, bus, connection_id).handle(_text(event))
    return {"statusCode": 200}


async def _connect(
    runtime: Runtime, frames: Frames, bus: ApiGatewayBus, connection_id: str, event: Mapping[str, Any]
) -> dict[str, Any]:
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    scope = {
        "headers": [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
    }
    if not origin_is_known(scope, runtime.settings.cors_allowed_origins):
        return {"statusCode": 403}
    offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",") if part.strip()]
    bearer = caller_token(scope, runtime)
    if bearer is None:
        bearer = frames.token_of(offered)
    try:
        authorization = await authorize_subscriber(runtime, bearer)
    except Unauthenticated:
        return {"statusCode": 401}
    await bus.connections.connect(connection_id, authorization)
    if SUBPROTOCOL in offered:
        return {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": SUBPROTOCOL}}
    return {"statusCode": 200}


def _text(event: Mapping[str, Any]) -> str | None:
    """Return the text of a frame; None for a binary frame."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body)
    try:
        return base64.b64decode(body).decode()
    except ValueError:
        return None


class _Session:
    """One frame of one connection."""

    def __init__(self, runtime: Runtime, frames: Frames, bus: ApiGatewayBus, connection_id: str) -> None:
        self._runtime = runtime
        self._frames = frames
        self._bus = bus
        self._id = connection_id

    async def handle(self, text: str | None) -> None:
        """Handle a client frame. Errors are sent to the client as Error frames."""
        channel: str | None = None
        try:
            frame = self._frames.read_frame(text, LARGEST_FRAME_BYTES)
            exists, caller = await self._bus.connections.caller(self._id)
            if not exists:
                # The connection was refused or has expired.
                await self._bus.close_connection(self._id)
                return
            if caller is not None and not caller.is_valid_at() and frame.type != "Authorize":
                raise Unauthenticated("The token has expired")
            if frame.type == "Authorize":
                await self._authorize(frame.payload, caller)
                return
            channel = frame.payload[:128]
            if frame.type == "Subscribe":
                await self._subscribe(frame, caller)
            else:
                if frame.payload not in {each.channel for each in await self._bus.connections.subscriptions(self._id)}:
                    raise NotFound("This socket is not subscribed to that channel")
                await self._bus.connections.unsubscribe(self._id, frame.payload)
                await self._send("Unsubscribed", channel=channel)
        except ActionError as error:
            await self._bus.send(self._id, self._frames.error_frame(error, channel).encode())
            if isinstance(error, Unauthenticated) and channel is None:
                await self._bus.close_connection(self._id)

    async def _subscribe(self, frame: Any, caller: Authorization | None) -> None:
        channels = self._runtime.catalog.channels_of(WebsocketEventChannel)
        channel = next((each for each in channels if each.name == frame.payload), None)
        if channel is None:
            raise NotFound(f"There is no channel '{frame.payload[:128]}'")
        await check_access(channel, caller, frame.subscriber_id, chosen=frame.subscriber_id is not None)
        subscriber_id = frame.subscriber_id or secrets.token_urlsafe(16)
        await self._bus.connections.subscribe(Listener(self._id, channel.name, subscriber_id, caller))
        # There is no history here, so a client that resumes from a cursor must know that events were lost.
        recovered = None if frame.after is None else False
        await self._send("Subscribed", channel=channel.name, subscriber_id=subscriber_id, recovered=recovered)

    async def _authorize(self, token: str, before: Authorization | None) -> None:
        caller = await authorize_subscriber(self._runtime, token)
        if caller is None:
            raise Unauthenticated()
        if before is not None and before.subject_id != caller.subject_id:
            raise Forbidden("This is a token of another subject")
        await self._bus.connections.connect(self._id, caller)
        for listener in await self._bus.connections.subscriptions(self._id):
            channels = self._runtime.catalog.channels_of(WebsocketEventChannel)
            channel = next((each for each in channels if each.name == listener.channel), None)
            try:
                if channel is None:
                    raise NotFound(f"There is no channel '{listener.channel}'")
                await check_access(channel, caller, listener.subscriber_id)
                again = Listener(self._id, listener.channel, listener.subscriber_id, caller)
                await self._bus.connections.subscribe(again)
            except ActionError as error:
                await self._bus.connections.unsubscribe(self._id, listener.channel)
                await self._bus.send(self._id, self._frames.error_frame(error, listener.channel).encode())
        await self._send("Authorized")

    async def _send(self, kind: str, **fields: Any) -> None:
        await self._bus.send(self._id, self._frames.server_frame(kind, **fields).encode())
