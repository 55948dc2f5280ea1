"""Publish events to the websocket connections of API Gateway.

Each publication costs one DynamoDB query and one API call for each subscriber.
Source: API Gateway developer guide, "Use @connections commands in your backend service" and the quotas of WebSocket APIs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from servey.aws.clients import MAX_CONCURRENCY, Client, http_status
from servey.aws.connections import DynamoConnections, Listener
from servey.aws.table import table_of
from servey.core.channels import WebsocketEventChannel
from servey.core.context import current_process
from servey.core.errors import ActionError, ConfigError, ServeyError
from servey.core.messages import Gap, Message, Past, Position
from servey.core.settings import Settings

logger: logging.Logger = logging.getLogger("servey")

LARGEST_BYTES = 128 * 1024
_GONE = 410
_TOO_MANY_REQUESTS = 429
_TRIES = 4


class ApiGatewayBus:
    """A bus for API Gateway's websocket connections. It keeps no history."""

    def __init__(self, connections: DynamoConnections, client: Client) -> None:
        self.connections = connections
        self._client = client
        self._semaphore = asyncio.Semaphore(MAX_CONCURRENCY)

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Send an event to every subscriber that may see it. A closed connection does not delay the others.

        Errors: ServeyError for an event that is too large for API Gateway.
        """
        channel = _channel(message.channel)
        frame = event_frame(message)
        if len(frame) > LARGEST_BYTES:
            raise ServeyError(
                f"channel '{message.channel}': the event has {len(frame)} bytes; API Gateway's limit is {LARGEST_BYTES}"
            )
        may_receive = _recipient_check(channel, message)
        async for page in self.connections.listeners(message.channel):
            await asyncio.gather(*(self._deliver(listener, frame, may_receive) for listener in page))

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Errors: ActionError (501); Lambda freezes the process between invocations, so it cannot subscribe."""
        return _refuse_to_subscribe()

    async def recall(self, channel: str, after: Position | None) -> Past:
        """Errors: ServeyError; there is no history on AWS."""
        raise ServeyError("channels keep no history on AWS")

    async def aclose(self) -> None:
        """Do nothing; the bus holds no connection open."""

    async def send(self, connection_id: str, text: bytes) -> bool:
        """Send a frame to one connection. Return False if the connection is closed or cannot be reached."""
        for attempt in range(_TRIES):
            try:
                async with self._semaphore:
                    await self._client("post_to_connection", ConnectionId=connection_id, Data=text)
                return True
            except Exception as error:
                status = http_status(error)
                if status == _GONE:
                    await self.connections.disconnect(connection_id)
                    return False
                if status != _TOO_MANY_REQUESTS or attempt + 1 == _TRIES:
                    logger.warning("a frame could not be sent to connection %s: %s", connection_id, error)
                    return False
            await asyncio.sleep(0.05 * 2**attempt * (1 + random.random()))
        return False

    async def close_connection(self, connection_id: str) -> None:
        """Close a connection and delete its items."""
        await self.connections.disconnect(connection_id)
        try:
            await self._client("delete_connection", ConnectionId=connection_id)
        except Exception as error:
            if http_status(error) != _GONE:
                logger.warning("connection %s could not be closed: %s", connection_id, error)

    async def _deliver(self, listener: Listener, frame: bytes, may_receive: Callable[[Listener], bool]) -> None:
        authorization = listener.authorization
        if authorization is not None and not authorization.is_valid_at():
            await self.close_connection(listener.connection_id)
        elif may_receive(listener):
            await self.send(listener.connection_id, frame)


def event_frame(message: Message) -> bytes:
    """Return the frame of an event. The payload is JSON already and is inserted unchanged."""
    return b'{"type":"Event","channel":"%s","payload":%s}' % (message.channel.encode(), message.payload)


def _recipient_check(channel: WebsocketEventChannel[Any], message: Message) -> Callable[[Listener], bool]:
    """Return a predicate: whether a listener is a recipient of the message and the channel's filter admits it."""
    value: list[Any] = []

    def may_receive(listener: Listener) -> bool:
        authorization = listener.authorization
        if message.subscriber_id is not None and message.subscriber_id != listener.subscriber_id:
            return False
        if message.subject is not None and (authorization is None or authorization.subject_id != message.subject):
            return False
        if channel.event_filter is None:
            return True
        try:
            if not value:
                value.append(channel.event.validate_json(message.payload))
            return channel.may_see(value[0], authorization)
        except Exception:
            logger.exception("the filter of channel '%s' failed; the event is not delivered", channel.name)
            return False

    return may_receive


def _channel(name: str) -> WebsocketEventChannel[Any]:
    channels = current_process().catalog.channels_of(WebsocketEventChannel)
    return next(channel for channel in channels if channel.name == name)


@asynccontextmanager
async def _refuse_to_subscribe() -> AsyncIterator[AsyncIterator[Message | Gap]]:
    text = "A Lambda function cannot subscribe to a channel; connect to the websocket API instead"
    raise ActionError(501, "not_implemented", text)
    yield


def bus_of(settings: Settings) -> ApiGatewayBus:
    """Return the bus that the settings describe. Errors: ConfigError."""
    table = table_of(settings)
    if table is None:
        raise ConfigError("SERVEY_WEBSOCKET_ENDPOINT is set, but SERVEY_CONNECTION_TABLE (its DynamoDB table) is not")
    client = Client("apigatewaymanagementapi", endpoint_url=settings.websocket_endpoint)
    return ApiGatewayBus(DynamoConnections(table), client)
