"""Publishing to whoever is connected over API Gateway.

One query of the table and one message for each listener: what a publication costs grows with its listeners.
Source: API Gateway developer guide, "Use @connections commands in your backend service" and the quotas of WebSocket APIs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from servey.aws.clients import AT_ONCE, Client, http_status
from servey.aws.connections import DynamoConnections, Listener
from servey.aws.table import table_of
from servey.channels import Message, Position, WebsocketEventChannel
from servey.context import current_runtime
from servey.errors import ConfigError, ServeyError
from servey.events import Gap, Past
from servey.settings import Settings

logger = logging.getLogger("servey")

LARGEST_BYTES = 128 * 1024
_GONE = 410
_TOO_MANY = 429
_TRIES = 4


class ApiGatewayBus:
    """A bus whose subscribers AWS holds the connections of; nothing of the past is kept."""

    def __init__(self, connections: DynamoConnections, client: Client) -> None:
        self.connections = connections
        self._client = client
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Sends an event to everyone who listens, is meant and may see it; one who is gone does not hold up the others.

        Errors: ServeyError for an event that is too large for API Gateway.
        """
        channel = _channel(message.channel)
        frame = event_frame(message)
        if len(frame) > LARGEST_BYTES:
            raise ServeyError(
                f"channel '{message.channel}': the event has {len(frame)} bytes, and API Gateway takes {LARGEST_BYTES}"
            )
        sees = _viewer(channel, message)
        async for page in self.connections.listeners(message.channel):
            await asyncio.gather(*(self._deliver(listener, frame, sees) for listener in page))

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[Message | Gap]]:
        """Errors: ServeyError, since a function that stands still between its calls can not listen."""
        return _no_one_listens()

    async def recall(self, channel: str, after: Position | None) -> Past:
        """Errors: ServeyError, as `subscribe`."""
        raise ServeyError("events of the past are not kept on AWS")

    async def aclose(self) -> None:
        """Nothing is held open."""

    async def send(self, connection_id: str, text: bytes) -> bool:
        """Sends a frame to one connection; False where it is gone, or can not be reached."""
        for attempt in range(_TRIES):
            try:
                async with self._at_once:
                    await self._client("post_to_connection", ConnectionId=connection_id, Data=text)
                return True
            except Exception as error:
                status = http_status(error)
                if status == _GONE:
                    await self.connections.disconnect(connection_id)
                    return False
                if status != _TOO_MANY or attempt + 1 == _TRIES:
                    logger.warning("a frame could not be sent to connection %s: %s", connection_id, error)
                    return False
            await asyncio.sleep(0.05 * 2**attempt * (1 + random.random()))
        return False

    async def close_connection(self, connection_id: str) -> None:
        """Ends a connection, and forgets it."""
        await self.connections.disconnect(connection_id)
        try:
            await self._client("delete_connection", ConnectionId=connection_id)
        except Exception as error:
            if http_status(error) != _GONE:
                logger.warning("connection %s could not be ended: %s", connection_id, error)

    async def _deliver(self, listener: Listener, frame: bytes, sees: Callable[[Listener], bool]) -> None:
        authorization = listener.authorization
        if authorization is not None and not authorization.is_valid_at():
            await self.close_connection(listener.connection_id)
        elif sees(listener):
            await self.send(listener.connection_id, frame)


def event_frame(message: Message) -> bytes:
    """The frame of an event; its JSON goes in as it is."""
    return b'{"type":"Event","channel":"%s","payload":%s}' % (message.channel.encode(), message.payload)


def _viewer(channel: WebsocketEventChannel[Any], message: Message) -> Callable[[Listener], bool]:
    """Tells who is meant by a message, and is let to see it by the channel's filter."""
    value: list[Any] = []

    def sees(listener: Listener) -> bool:
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
            logger.exception("the filter of channel '%s' failed; its event is held back", channel.name)
            return False

    return sees


def _channel(name: str) -> WebsocketEventChannel[Any]:
    channels = current_runtime().catalog.channels_of(WebsocketEventChannel)
    return next(channel for channel in channels if channel.name == name)


@asynccontextmanager
async def _no_one_listens() -> AsyncIterator[AsyncIterator[Message | Gap]]:
    raise ServeyError("nothing can be listened to inside of a Lambda function; connect to the websocket API instead")
    yield


def bus_of(settings: Settings) -> ApiGatewayBus:
    """The bus of the settings. Errors: ConfigError."""
    table = table_of(settings)
    if table is None:
        raise ConfigError("SERVEY_WEBSOCKET_ENDPOINT needs SERVEY_CONNECTION_TABLE, the table of its connections")
    client = Client("apigatewaymanagementapi", endpoint_url=settings.websocket_endpoint)
    return ApiGatewayBus(DynamoConnections(table), client)
