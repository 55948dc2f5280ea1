"""The settings of Redis and of cached results."""

from pydantic import AliasChoices, Field, ValidationInfo, field_validator

from servey.core.settings.group import SettingsGroup
from servey.core.settings.sources import redis_url_with_password


class StorageSettings(SettingsGroup):
    """Redis and cached results."""

    redis_password: str | None = Field(
        None, repr=False, description="the Redis password, if the URL does not contain it"
    )
    redis_url: str | None = Field(
        None,
        validation_alias=AliasChoices("SERVEY_REDIS_URL", "REDIS_URL"),
        repr=False,
        description="the Redis shared by server and worker processes: jobs, events, cached results",
    )
    redis_trusted: bool = Field(
        False, description="allow, in production, a Redis over the network without password and TLS"
    )
    cache_max_entries: int = Field(
        10_000, ge=0, description="maximum number of cached results in memory, without Redis"
    )
    cache_max_bytes: int = Field(64 << 20, ge=0, description="maximum total size of cached results in memory")
    cache_prefix: str = Field("servey", description="prefix of cache keys; each app on the same Redis needs its own")

    @field_validator("redis_url")
    @classmethod
    def _with_password(cls, value: str | None, info: ValidationInfo) -> str | None:
        return redis_url_with_password(value, info.data.get("redis_password"))
