"""The connections and subscriptions of API Gateway's websocket API, stored in DynamoDB."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter

from servey.aws.table import Item, Table
from servey.core.access import Authorization, StoredAuthorization

KEPT_SECONDS = 2 * 3600 + 600
"""API Gateway closes a connection after two hours at most. Source: API Gateway quotas, WebSocket APIs."""

_CONNECTION = "connection"
_CHANNEL = "channel#"


@dataclass(frozen=True)
class Listener:
    """The subscription of one connection to one channel."""

    connection_id: str
    channel: str
    subscriber_id: str
    authorization: Authorization | None


class DynamoConnections:
    """Connections and subscriptions in a table. Each item expires, so nothing has to be cleaned up."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def connect(self, connection_id: str, authorization: Authorization | None) -> None:
        """Store a new connection, or the new token of an existing one."""
        await self._table.put(self._item(connection_id, _CONNECTION, authorization))

    async def caller(self, connection_id: str) -> tuple[bool, Authorization | None]:
        """Return whether the connection exists, and its caller."""
        item = await self._table.get(_pk(connection_id), _CONNECTION)
        if item is None or float(item["expires_at"]) < time.time():
            return False, None
        return True, _authorization(item)

    async def subscribe(self, listener: Listener) -> None:
        """Store a subscription."""
        item = self._item(listener.connection_id, _CHANNEL + listener.channel, listener.authorization)
        await self._table.put({**item, "channel": listener.channel, "subscriber_id": listener.subscriber_id})

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        """Delete a subscription."""
        await self._table.delete(_pk(connection_id), _CHANNEL + channel)

    async def subscriptions(self, connection_id: str) -> list[Listener]:
        """Return the subscriptions of a connection."""
        items = await self._table.all_of(_pk(connection_id))
        return [_listener(item) for item in items if "channel" in item]

    async def disconnect(self, connection_id: str) -> None:
        """Delete a connection and its subscriptions."""
        for item in await self._table.all_of(_pk(connection_id)):
            await self._table.delete(_pk(connection_id), str(item["sk"]))

    async def listeners(self, channel: str) -> AsyncIterator[list[Listener]]:
        """Yield the subscriptions to a channel, page by page."""
        async for page in self._table.of_channel(channel):
            now = time.time()
            yield [_listener(item) for item in page if float(item["expires_at"]) >= now]

    def _item(self, connection_id: str, sk: str, authorization: Authorization | None) -> Item:
        known = {} if authorization is None else {"caller": _authorizations().dump_json(authorization).decode()}
        return {"pk": _pk(connection_id), "sk": sk, "expires_at": time.time() + KEPT_SECONDS, **known}


def _pk(connection_id: str) -> str:
    return f"connection#{connection_id}"


def _listener(item: Item) -> Listener:
    connection_id = str(item["pk"]).partition("#")[2]
    return Listener(connection_id, str(item["channel"]), str(item["subscriber_id"]), _authorization(item))


def _authorization(item: Item) -> Authorization | None:
    return _authorizations().validate_json(str(item["caller"])) if "caller" in item else None


@cache
def _authorizations() -> TypeAdapter[Authorization]:
    return TypeAdapter(StoredAuthorization)
