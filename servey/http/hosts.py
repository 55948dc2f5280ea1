"""Checks the `Host` header of requests.

A page that rebinds its own DNS name to 127.0.0.1 is same-origin with a development server, but its requests still name the
foreign host.
Source: RFC 9110 section 7.2 (Host), RFC 6761 section 6 (special-use names).
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from servey.core.settings import Settings
from servey.http.close_codes import POLICY_VIOLATION
from servey.http.origins import origin_is_allowed
from servey.http.web import json_response

logger: logging.Logger = logging.getLogger("servey")


class HostCheck:
    """Refuses requests and websockets whose `Host` is not allowed.

    Shape: ``names`` are lower case host names; ``*.example.com`` allows every subdomain, ``*`` every host. ``local`` allows
    loopback names and names without a dot, as containers and test clients have them; nobody can register such a name.
    Pages of the ``origins`` that CORS allows are trusted under any name.
    """

    def __init__(self, names: Iterable[str], *, local: bool, origins: tuple[str, ...] = ()) -> None:
        self._names = frozenset(names)
        self._suffixes = tuple(name[1:] for name in self._names if name.startswith("*."))
        self._local = local
        self._origins = origins

    def allows(self, scope: Scope) -> bool:
        """Whether the request may be served. A request without a `Host` is allowed: every browser sends one."""
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not hosts or "*" in self._names or origin_is_allowed(scope, self._origins):
            return True
        if self._local and "aws.event" in scope:
            return True  # a gateway on AWS, which no rebound name reaches
        host = _name_of(hosts[0])
        if len(hosts) > 1 or host is None:
            return False
        if host in self._names or host.endswith(self._suffixes):
            return True
        address = _address_of(host)
        if address is None:
            return self._local and (host.endswith(".localhost") or "." not in host)
        # An address is never a rebound name. Health checks and other devices use the one that the server listens on.
        return (self._local and address.is_loopback) or address == _address_of((scope.get("server") or ("",))[0])

    def guarded(self, app: ASGIApp) -> ASGIApp:
        """Wrap an ASGI app with this check."""

        async def checked(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan" or self.allows(scope):
                await app(scope, receive, send)
            else:
                await self.refuse(scope, receive, send)

        return checked

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403; a websocket is refused before it is accepted."""
        shown = ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"host")[:200]
        logger.warning("a request with the Host %r was refused; add it to SERVEY_ALLOWED_HOSTS to allow it", shown)
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "Host not allowed"})
            return
        detail = f"The Host '{shown}' is not allowed; add its name to SERVEY_ALLOWED_HOSTS"
        await json_response({"detail": detail, "code": "forbidden"}, 403, {"Cache-Control": "no-store"})(
            scope, receive, send
        )


def checks_hosts(settings: Settings) -> bool:
    """Whether the `Host` of requests is checked."""
    return settings.is_dev or bool(settings.allowed_hosts)


def host_check_of(settings: Settings) -> HostCheck | None:
    """Return the check for the settings, or None: production without SERVEY_ALLOWED_HOSTS serves every host."""
    if not checks_hosts(settings):
        return None
    listening = () if settings.host in ("0.0.0.0", "::") else (settings.host.lower().strip("[]"),)
    names = {*settings.allowed_hosts, *(listening if settings.is_dev else ())}
    return HostCheck(names, local=settings.is_dev, origins=settings.cors_allowed_origins)


def guard_routes(routes: Iterable[BaseRoute], check: HostCheck) -> None:
    """Check the `Host` of these routes only; an app that Servey is installed in keeps its own rule for the others."""
    for route in routes:
        route.handle = check.guarded(route.handle)  # type: ignore[assignment, method-assign]


def _name_of(host: str) -> str | None:
    """Return the host name without its port, or None if it is malformed."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    if port and not (port.isascii() and port.isdigit()):
        return None
    if name.startswith("[") and name.endswith("]"):
        return name[1:-1].lower()
    return None if ":" in name or not name else name.lower().removesuffix(".")


def _address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
