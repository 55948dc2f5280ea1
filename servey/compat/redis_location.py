"""Clients of a Redis that moves: the master of a Sentinel service, or the node of a cluster that has an app's keys.

All keys of an app are in one slot, so one node has all of them, and a client needs connections to that node only. A
connection looks the node up when it connects; it is closed when its server says that it is no longer the right one.
Source: redis-py 5.3, redis/asyncio/connection.py and redis/connection.py (AbstractConnection._connect, read_response).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import ConnectionPool as AsyncConnectionPool
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.connection import parse_url as parse_async_url
from redis.client import Redis
from redis.connection import Connection, ConnectionPool
from redis.connection import parse_url as parse_sync_url
from redis.crc import key_slot
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
)

_WRONG_SERVER = (ClusterDownError, MasterDownError, MovedError, ReadOnlyError)
_LOOK_UP_SECONDS = 1.0

Found = tuple[str, int]


@dataclass(frozen=True)
class Location:
    """Where to look a server up. Shape: one of ``service``, of Sentinel, and ``slot``, of a cluster, is set."""

    nodes: tuple[Found, ...]
    options: dict[str, Any]
    service: str | None = None
    slot: int | None = None

    def find(self) -> Found:
        """Return the host and port of the server; this blocks. Errors: redis.ConnectionError if no node knows it."""
        problems: list[str] = []
        for host, port in self.nodes:
            pool = ConnectionPool(**{**self.options, "host": host, "port": port})
            client: Any = Redis(connection_pool=pool)
            try:
                found = self._ask(client, host)
                if found is not None:
                    return found
                problems.append(f"{host}:{port} does not know it")
            except (RedisError, OSError) as error:
                problems.append(f"{host}:{port}: {error}")
            finally:
                client.close()
                pool.disconnect()
        what = f"the master of '{self.service}'" if self.service else f"the node with slot {self.slot}"
        raise ConnectionError(f"{what} cannot be found: {'; '.join(problems)}")

    def _ask(self, client: Any, asked: str) -> Found | None:
        if self.service is not None:
            master = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            return None if not master else (master[0].decode(), int(master[1]))
        assert self.slot is not None
        for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS"):
            if first <= self.slot <= last:
                return (master[0] or b"").decode() or asked, int(master[1])
        return None


_parse_url: Callable[[str], dict[str, Any]] = parse_sync_url


def is_located(url: str) -> bool:
    """Whether a URL names a cluster, or a service of Sentinel, and not one server."""
    return urlsplit(url).scheme.partition("+")[2] in ("cluster", "sentinel")


def async_pool(url: str, prefix: str, kind: type[Any] = AsyncConnectionPool, **options: Any) -> Any:
    """Return a pool of connections for asyncio to the server at a URL that has the keys that begin with ``prefix``.

    Errors: ValueError for a URL that cannot be read.
    """
    if not is_located(url):
        return kind.from_url(url, **options)
    plain, location = _location_of(url, prefix)
    settings: dict[str, Any] = {**parse_async_url(plain), **options}
    base = settings.pop("connection_class", AsyncConnection)
    return kind(connection_class=_located_async(base, location.find), **settings)


def sync_client(url: str, prefix: str, **options: Any) -> Any:
    """Return a blocking client of the server at a URL that has the keys that begin with ``prefix``."""
    if not is_located(url):
        return Redis.from_url(url, **options)
    plain, location = _location_of(url, prefix)
    settings: dict[str, Any] = {**_parse_url(plain), **options}
    base = settings.pop("connection_class", Connection)
    return Redis(connection_pool=ConnectionPool(connection_class=_located(base, location.find), **settings))


def _location_of(url: str, prefix: str) -> tuple[str, Location]:
    """Return the URL of one server with the same user, password and TLS, and where to look the server up."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    user, at, hosts = parts.netloc.rpartition("@")
    default = 26379 if kind == "sentinel" else 6379
    nodes = tuple(_node_of(each, default) for each in hosts.split(","))
    service, _, database = parts.path.strip("/").partition("/")
    plain = f"{scheme}://{user}{at}{nodes[0][0]}:{nodes[0][1]}/{database if kind == 'sentinel' else ''}"
    options: dict[str, Any] = {
        **_parse_url(plain),
        "db": 0,
        "socket_timeout": _LOOK_UP_SECONDS,
        "socket_connect_timeout": _LOOK_UP_SECONDS,
    }
    if kind == "cluster":
        return plain, Location(nodes, options, slot=key_slot(prefix.encode()))
    # The user and password of the URL are those of the servers; Sentinel has its own.
    query = parse_qs(parts.query)
    options["username"] = query.get("sentinel_username", [None])[0]
    options["password"] = query.get("sentinel_password", [None])[0]
    return plain, Location(nodes, options, service=service)


def _node_of(text: str, default: int) -> Found:
    host, colon, port = text.partition(":")
    return host, int(port) if colon else default


def _located_async(base: Any, find: Callable[[], Found]) -> Any:
    class Located(base):  # type: ignore[misc]
        async def _connect(self) -> None:
            self.host, self.port = await asyncio.to_thread(find)
            await super()._connect()

        async def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return await super().read_response(*args, **options)
            except _WRONG_SERVER as error:
                await self.disconnect(nowait=True)
                raise ConnectionError(str(error)) from None

    return Located


def _located(base: Any, find: Callable[[], Found]) -> Any:
    class Located(base):  # type: ignore[misc]
        def _connect(self) -> Any:
            self.host, self.port = find()
            return super()._connect()

        def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return super().read_response(*args, **options)
            except _WRONG_SERVER as error:
                self.disconnect()
                raise ConnectionError(str(error)) from None

    return Located
