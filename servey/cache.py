"""How long a result holds good, and for whom: facts that an action is decorated with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from servey.errors import ConfigError


@dataclass(frozen=True)
class TtlCacheControl:
    """A result holds good for ``ttl`` seconds after it was made.

    ``private`` results belong to their caller alone. ``server`` keeps them on the server too, for as long.
    """

    ttl: float
    private: bool = True
    must_revalidate: bool = False
    server: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.ttl, bool) or not self.ttl > 0:
            raise ConfigError(f"TtlCacheControl({self.ttl!r}): give a number of seconds above 0")


@dataclass(frozen=True)
class SecureHashCacheControl:
    """A result holds good until its bytes change: its strong hash is its ``ETag``."""

    private: bool = True


@dataclass(frozen=True)
class TimestampCacheControl:
    """A result holds good until the time in one of its attributes changes: that is its ``Last-Modified``."""

    updated_at_attr: str = "updated_at"


CacheControl: TypeAlias = TtlCacheControl | SecureHashCacheControl | TimestampCacheControl
