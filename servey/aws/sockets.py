"""Websocket connections that API Gateway holds: who may connect, and what a connection's frames ask for.

Source: API Gateway developer guide, "Working with WebSocket APIs".
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from servey.access import Authorization, AuthorizationError
from servey.aws.bus import ApiGatewayBus
from servey.aws.connections import Listener
from servey.channels import WebsocketEventChannel
from servey.errors import ActionError, Forbidden, NotFound, ServeyError, Unauthenticated
from servey.runtime import Runtime
from servey.subscriptions import check_access

logger = logging.getLogger("servey")

SUBPROTOCOL = "servey"
LARGEST_FRAME_BYTES = 32 * 1024


class Frames(Protocol):
    """How frames are written and read, the same on every kind of socket."""

    def read_frame(self, text: str | None, limit_bytes: int) -> Any: ...
    def server_frame(self, kind: str, **fields: Any) -> str: ...
    def error_frame(self, error: ActionError, channel: str | None = None) -> str: ...
    def token_of(self, subprotocols: list[str]) -> str | None: ...


async def answer_socket(runtime: Runtime, frames: Frames, event: Mapping[str, Any]) -> dict[str, Any]:
    """What API Gateway is answered: a status, which refuses a connection unless it is 200."""
    bus = runtime.bus
    if not isinstance(bus, ApiGatewayBus):
        raise ServeyError("a websocket event has come, and SERVEY_WEBSOCKET_ENDPOINT does not say how to answer it")
    context = event["requestContext"]
    connection_id: str = context["connectionId"]
    if context["eventType"] == "CONNECT":
        return await _connect(runtime, frames, bus, connection_id, event)
    if context["eventType"] == "DISCONNECT":
        await bus.connections.disconnect(connection_id)
    else:
        await _Session(runtime, frames, bus, connection_id).take(_text(event))
    return {"statusCode": 200}


async def _connect(
    runtime: Runtime, frames: Frames, bus: ApiGatewayBus, connection_id: str, event: Mapping[str, Any]
) -> dict[str, Any]:
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    allowed = runtime.settings.cors_allowed_origins
    if "origin" in headers and "*" not in allowed and headers["origin"] not in allowed:
        return {"statusCode": 403}
    offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",") if part.strip()]
    scheme, _, token = headers.get("authorization", "").partition(" ")
    shown = token.strip() if scheme.lower() == "bearer" else frames.token_of(offered)
    try:
        authorization = await _verified(runtime, shown)
    except Unauthenticated:
        return {"statusCode": 401}
    await bus.connections.connect(connection_id, authorization)
    if SUBPROTOCOL in offered:
        return {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": SUBPROTOCOL}}
    return {"statusCode": 200}


async def _verified(runtime: Runtime, token: str | None) -> Authorization | None:
    if token is None:
        return None
    try:
        return await runtime.authorizer.authorize(token)
    except AuthorizationError as error:
        logger.info("a token was refused: %s", error)
        raise Unauthenticated() from None


def _text(event: Mapping[str, Any]) -> str | None:
    """What a text frame says; None for a binary one."""
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

    async def take(self, text: str | None) -> None:
        """Does what a frame asks for; what is wrong with it is told to the client."""
        channel: str | None = None
        try:
            frame = self._frames.read_frame(text, LARGEST_FRAME_BYTES)
            there, caller = await self._bus.connections.caller(self._id)
            if not there:
                # It was refused, or is gone already.
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
                await self._say("Unsubscribed", channel=channel)
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
        # Nothing of the past is kept here, so that a client that asks for it is told that it is lost.
        recovered = None if frame.after is None else False
        await self._say("Subscribed", channel=channel.name, subscriber_id=subscriber_id, recovered=recovered)

    async def _authorize(self, token: str, before: Authorization | None) -> None:
        caller = await _verified(self._runtime, token)
        assert caller is not None
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
        await self._say("Authorized")

    async def _say(self, kind: str, **fields: Any) -> None:
        await self._bus.send(self._id, self._frames.server_frame(kind, **fields).encode())
