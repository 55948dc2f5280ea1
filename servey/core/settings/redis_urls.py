"""The addresses of a Redis: one server, a cluster, or a service of Sentinel."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_NODE = re.compile(r"[^\s:,/@]+(:\d{1,5})?")
_SERVER = "write it as redis://[[user]:password@]host[:port][/database], with rediss:// for TLS"
_CLUSTER = "write it as redis+cluster://[[user]:password@]host[:port],host[:port]..., with rediss+cluster:// for TLS"
_SENTINEL = (
    "write it as redis+sentinel://[[user]:password@]host[:port],host[:port].../service[/database]"
    "[?sentinel_password=...], with rediss+sentinel:// for TLS"
)


def redis_url_problem(url: str) -> str | None:
    """Return how to write the URL of a Redis if this one cannot be read, or None."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _SERVER
    scheme, _, kind = parts.scheme.partition("+")
    path = parts.path.strip("/").split("/")
    if kind in ("cluster", "sentinel") and scheme in ("redis", "rediss"):
        nodes = parts.netloc.rpartition("@")[2].split(",")
        sound = all(map(_NODE.fullmatch, nodes))
        if kind == "cluster":
            return None if sound and path == [""] else _CLUSTER
        return None if sound and path[0] and (path[1:] == [] or (len(path) == 2 and path[1].isdigit())) else _SENTINEL
    try:
        known = parts.scheme in ("redis", "rediss", "unix") and (parts.port or 1) > 0
    except ValueError:
        return _SERVER
    database = "/".join(path)
    if not known or (parts.scheme != "unix" and not (parts.hostname and (not database or database.isdigit()))):
        return _SERVER
    return None
