"""Tell public internet addresses from private ones, and connect to public ones only.

Source: the IANA IPv4 and IPv6 special-purpose address registries; RFC 6052 (NAT64), RFC 3056 (6to4).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias, cast

import httpcore2

Address: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]

_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")
_REFUSED = tuple(
    ip_network(each)
    for each in ("100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4", "64:ff9b:1::/48", "fec0::/10")
)
"""Networks that some versions of Python's tables call global although they are not."""


class RefusedAddress(Exception):
    """The host resolves to an address inside a private network."""


def is_public(text: str) -> bool:
    """Return whether an address is public; an IPv4 address embedded in an IPv6 one is checked too."""
    address = _embedded_ipv4(ip_address(text.partition("%")[0]))
    refused = any(address in network for network in _REFUSED if network.version == address.version)
    return address.is_global and not address.is_multicast and not refused


def _embedded_ipv4(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in (_NAT64, _COMPATIBLE) if isinstance(network, IPv6Network)):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host from the system's resolver. Errors: OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def system_network() -> httpcore2.AsyncNetworkBackend:
    """Return a network backend without restrictions."""
    network: Any = httpcore2.AnyIOBackend()  # typed as the class that replaces it when anyio is missing
    return cast(httpcore2.AsyncNetworkBackend, network)


class PublicNetwork(httpcore2.AsyncNetworkBackend):
    """Connect only to hosts whose addresses are all public.

    The connection uses the address that was checked, so a second DNS answer (DNS rebinding) cannot change it.
    """

    def __init__(self, backend: httpcore2.AsyncNetworkBackend | None = None, resolve: Resolve = resolve) -> None:
        self._backend = backend or system_network()
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Open a connection. Errors: RefusedAddress before a socket is opened; OSError if the host has no address."""
        addresses = await self._resolve(host, port)
        if not addresses:
            raise OSError(f"{host} has no address")
        if not all(map(is_public, addresses)):
            raise RefusedAddress(f"{host} is inside a private network")
        return await self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await self._backend.sleep(seconds)
