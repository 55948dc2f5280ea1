"""The default bus of an app: in memory, or over Redis."""

from __future__ import annotations

from servey.core.errors import ConfigError, why_missing
from servey.core.messages import Bus
from servey.core.settings import Settings
from servey.ws.memory_bus import MemoryBus


def bus_of(settings: Settings) -> Bus:
    """The bus that the settings select: over Redis if one is configured. Errors: ConfigError."""
    if settings.redis_url is None:
        return MemoryBus()
    try:
        from servey.ws.redis_bus import RedisBus
    except ModuleNotFoundError as error:
        raise ConfigError(f"SERVEY_REDIS_URL: {why_missing(error) or error}") from error
    return RedisBus(settings.redis_url, settings.redis_prefix)
