"""The settings of server and worker processes."""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, field_validator

from servey.core.settings.group import Names, SettingsGroup


class ServerSettings(SettingsGroup):
    """Where the servers listen, their limits, and how they stop and report."""

    host: str = Field(
        "127.0.0.1", validation_alias=AliasChoices("SERVEY_HOST", "SERVER_HOST"), description="the address to listen on"
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("SERVEY_PORT", "SERVER_PORT", "PORT"),
        description="the port to listen on",
    )
    root_path: str = Field(
        "",
        pattern=r"^(/[^\s?#]*[^/\s?#])?$",
        description="the path under which a proxy or gateway serves this app, e.g. /api; inside a host, the host's counts",
    )
    debug: bool = Field(
        False,
        validation_alias=AliasChoices("SERVEY_DEBUG", "SERVER_DEBUG"),
        description="log at DEBUG level; clients never see details",
    )
    log_level: str = Field(
        "INFO",
        validation_alias=AliasChoices("SERVEY_LOG_LEVEL", "LOGLEVEL"),
        description="the lowest level that is logged",
    )
    cors_allowed_origins: Names = Field(
        (),
        validation_alias=AliasChoices("SERVEY_CORS_ALLOWED_ORIGINS", "CORS_ALLOWED_ORIGINS"),
        description="origins whose pages may call this app",
    )
    max_body_bytes: int = Field(1 << 20, ge=0, description="maximum size of a request body")
    body_timeout: float = Field(15, gt=0, description="how long a client may take to send the request body")
    max_in_flight: int = Field(500, ge=1, description="maximum number of concurrent calls in one process")
    threads: int = Field(40, ge=1, description="worker threads for plain `def` actions")
    drain: float = Field(
        2, ge=0, description="how long `servey run` keeps serving after SIGTERM, while /health/ready returns 503"
    )
    grace: float = Field(10, ge=0, description="how long requests in progress may then take to finish")
    worker_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="the port on which `servey worker` serves /health and /metrics; by default none",
    )
    trusted_proxies: Names = Field(
        ("127.0.0.1",), description="addresses or networks of reverse proxies whose X-Forwarded headers are trusted"
    )
    log_format: Literal["json", "text"] | None = Field(
        None, description="the log format of `servey run` and `servey worker`; by default JSON in production"
    )
    access_log: bool = Field(True, description="log a line for every call, if the log format is JSON")
    metrics: bool = Field(False, description="serve /metrics for Prometheus")
    metrics_dir: Path | None = Field(
        None,
        description="a folder in which several processes of another server than `servey run` share their metrics, so that "
        "/metrics of each shows all; `servey run --workers` makes one",
    )

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in (levels := ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")):
            raise ValueError(f"use one of {', '.join(levels)}")
        return value.upper()
