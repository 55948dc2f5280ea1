"""The settings of an app; the only place that reads the environment."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import AliasChoices, AwareDatetime, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from servey.errors import ConfigError

logger = logging.getLogger("servey")

Names = Annotated[tuple[str, ...], NoDecode]
"""Several values in one variable, separated by commas."""


def _named(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """Everything that an operator may set: by environment variable, or by name in code.

    Units: durations in seconds, sizes in bytes.
    Errors: ConfigError that names each variable that can not be used.
    """

    model_config = SettingsConfigDict(env_prefix="SERVEY_", populate_by_name=True, frozen=True, extra="ignore")

    env: Literal["dev", "prod"] = Field("prod", description="development conveniences, or production's care")
    main: str = Field("", description="the package that holds actions, event_channels and templates")
    action_path: Names = Field(("actions",), description="modules or packages to look for actions in")
    event_channel_path: Names = Field(("event_channels",), description="modules or packages to look for channels in")
    template_path: str = Field("templates", description="the folder of templates")
    api_title: str = Field("Servey", description="the title in OpenAPI")
    docs: bool | None = Field(None, description="serve /docs, /redoc and /openapi.json; by default in development only")
    strict_schema: bool = Field(False, description="refuse parameters that no one asked for, instead of ignoring them")
    plugins: Names = Field((), description="functions that swap parts of the app, as package.module:name")
    static_site_dir: str = Field("static_site", description="the folder of static files, served where no route is")

    static_site_fallback: str | None = Field(
        None, description="the file that answers where no other is, e.g. index.html for an app of a single page"
    )
    page_csp: str = Field(
        "frame-ancestors 'self'; base-uri 'self'; object-src 'none'",
        description="the Content-Security-Policy of pages that do not say their own",
    )
    redirect_origins: Names = Field((), description="other origins that a Redirect may lead to")

    host: str = Field("127.0.0.1", validation_alias=_named("SERVEY_HOST", "SERVER_HOST"), description="where to listen")
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=_named("SERVEY_PORT", "SERVER_PORT", "PORT"),
        description="where to listen",
    )
    debug: bool = Field(
        False, validation_alias=_named("SERVEY_DEBUG", "SERVER_DEBUG"), description="log more; never shown to clients"
    )
    log_level: str = Field(
        "INFO", validation_alias=_named("SERVEY_LOG_LEVEL", "LOGLEVEL"), description="the least level that is logged"
    )
    cors_allowed_origins: Names = Field(
        (),
        validation_alias=_named("SERVEY_CORS_ALLOWED_ORIGINS", "CORS_ALLOWED_ORIGINS"),
        description="origins whose pages may call this app",
    )

    jwt_secret_key: str | None = Field(
        None,
        validation_alias=_named("SERVEY_JWT_SECRET_KEY", "JWT_SECRET_KEY"),
        repr=False,
        description="the secret of HS256 tokens, at least 32 bytes in production",
    )
    jwt_public_key: str | None = Field(None, description="a PEM public key: RS256 for RSA, ES256 for P-256")
    jwks_url: str | None = Field(None, description="where an issuer publishes its public keys: RS256, ES256")
    jwt_issuer: str | None = Field(None, description="the only issuer (iss) whose tokens are taken")
    jwt_audience: str | None = Field(None, description="the audience (aud) that a token must be for")
    jwt_require_exp: bool = Field(True, description="refuse tokens that never expire")
    jwt_leeway: float = Field(30, ge=0, description="how far another machine's clock may be off")

    login_username: str = Field(
        "root",
        validation_alias=_named("SERVEY_LOGIN_USERNAME", "DEBUG_AUTHENTICATOR_USERNAME"),
        description="who may log in with the password",
    )
    login_password: str | None = Field(
        None,
        validation_alias=_named("SERVEY_LOGIN_PASSWORD", "SERVEY_DEBUG_AUTHENTICATOR_PASSWORD"),
        repr=False,
        description="the password of /login; without one it is only there in development, with a password made up",
    )

    redis_password: str | None = Field(
        None, repr=False, description="the password of Redis, where the address does not have it"
    )
    redis_url: str | None = Field(
        None,
        validation_alias=_named("SERVEY_REDIS_URL", "REDIS_URL"),
        repr=False,
        description="the Redis that server and worker processes share: jobs, events, cached results",
    )
    redis_trusted: bool = Field(
        False, description="in production too, take a Redis over the network that has neither a password nor TLS"
    )

    graphql_path: str = Field("/graphql", pattern=r"^/[^\s{}?#]*[^/\s{}?#]$", description="where GraphQL is served")
    graphql_max_depth: int = Field(15, ge=1, description="levels of fields in one GraphQL operation")
    graphql_max_aliases: int = Field(30, ge=0, description="aliases and repeated fields in one GraphQL document")
    graphql_max_tokens: int = Field(2000, ge=1, description="tokens in one GraphQL document")
    graphql_max_nodes: int = Field(10_000, ge=1, description="objects in the answer to one GraphQL operation")
    graphql_max_batch: int = Field(1, ge=1, description="GraphQL operations in one request; several come as a list")
    graphql_max_operations: int = Field(100, ge=1, description="operations that one GraphQL websocket may have open")

    cache_max_entries: int = Field(10_000, ge=0, description="results kept in memory, where there is no Redis")
    cache_max_bytes: int = Field(64 << 20, ge=0, description="how large all of them may be")
    cache_prefix: str = Field("servey", description="what keys of results begin with; apps of one Redis need one each")
    channel_connections: int = Field(10_000, ge=1, description="websockets and event streams open in one process")
    channel_per_socket: int = Field(128, ge=1, description="channels that one websocket may subscribe to")
    channel_frame_bytes: int = Field(1 << 16, ge=128, description="the largest frame that a websocket client may send")
    channel_queue: int = Field(1000, ge=1, description="events that may wait for one subscriber before it is dropped")
    channel_queue_bytes: int = Field(1 << 20, ge=1, description="bytes that may wait for one subscriber likewise")
    channel_idle: float = Field(60, gt=0, description="how long a websocket may stay without a subscription")
    channel_ping: float = Field(15, gt=0, description="how long an event stream may stay silent; then it is pinged")
    serverless_yml: str = Field(
        "serverless.yml",
        validation_alias=_named("SERVEY_SERVERLESS_YML", "MAIN_SERVERLESS_YML_FILE"),
        description="the file that `servey sls` keeps",
    )
    aws_router_for_all: bool = Field(
        True, description="one Lambda function for everything; 0 gives each action a function of its own"
    )
    aws_action: str | None = Field(
        None, description="the only action of a Lambda function; an event that is a plain object is then its parameters"
    )
    aws_handler: str = Field("servey.aws.handler", description="the Lambda handler, as package.module.name")
    appsync: bool = Field(False, description="whether `servey sls` makes an AppSync API too")
    appsync_key_expires: AwareDatetime | None = Field(
        None, description="when that API's key ends, at most 365 days ahead; 7 days after it was made, if not set"
    )
    aws_domain: str | None = Field(None, description="the domain of the static site on CloudFront")
    aws_certificate_arn: str | None = Field(None, description="that domain's certificate, of the region us-east-1")
    kms_key_id: str | None = Field(
        None,
        validation_alias=_named("SERVEY_KMS_KEY_ID", "KMS_KEY_ID"),
        description="the ARN of the KMS key that signs tokens: RS256; older ones may follow after commas",
    )
    queue_url: str | None = Field(None, description="the SQS queue that jobs wait in")
    dead_queue_url: str | None = Field(None, description="the SQS queue of jobs that were given up")
    connection_table: str | None = Field(
        None, description="the DynamoDB table of websocket connections and of what has been done already"
    )
    websocket_endpoint: str | None = Field(
        None, description="where API Gateway takes messages for its websocket connections"
    )

    job_concurrency: int = Field(50, ge=1, description="jobs that one worker process runs at once")
    job_grace: float = Field(30, ge=0, description="how long running jobs may take when their process is asked to end")
    job_lease: float = Field(15, ge=1, description="how long a job stays with a worker that gives no sign of life")
    webhook_concurrency: int = Field(
        10, ge=1, description="deliveries of one webhook that one worker process makes at once"
    )
    job_keep: float = Field(86_400, ge=1, description="how long what came of a job is kept, and its key remembered")

    max_body_bytes: int = Field(1 << 20, ge=0, description="the largest request body")
    body_timeout: float = Field(15, gt=0, description="how long a client may take to send its body")
    max_in_flight: int = Field(500, ge=1, description="calls that may run at once in one process")
    threads: int = Field(40, ge=1, description="worker threads for plain `def` actions")

    drain: float = Field(
        2, ge=0, description="how long `servey run` serves on after it was asked to end, while /health/ready says no"
    )
    grace: float = Field(10, ge=0, description="how long what is being done then may take")
    worker_port: int | None = Field(
        None, ge=0, le=65535, description="where `servey worker` answers /health and /metrics; by default nowhere"
    )
    trusted_proxies: Names = Field(
        ("127.0.0.1",), description="proxies, by address or network, whose X-Forwarded headers are believed"
    )
    log_format: Literal["json", "text"] | None = Field(
        None, description="how `servey run` and `servey worker` log; by default as JSON in production"
    )
    access_log: bool = Field(True, description="log a line for every call, where the log is JSON")
    metrics: bool = Field(False, description="serve /metrics, for Prometheus")

    def __init__(self, **values: Any) -> None:
        if "CELERY_BROKER" in os.environ:
            logger.warning("CELERY_BROKER is not used any more; jobs are kept in the Redis that SERVEY_REDIS_URL names")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_problem(item) for item in error.errors(include_url=False)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """By name in code, then by environment variable, then by the file that a variable with `_FILE` names."""
        return init_settings, env_settings, _Files(settings_cls)

    @field_validator(
        "action_path",
        "event_channel_path",
        "cors_allowed_origins",
        "redirect_origins",
        "plugins",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        if value.upper() not in levels:
            raise ValueError(f"use one of {', '.join(levels)}")
        return value.upper()

    @field_validator("redis_url")
    @classmethod
    def _with_password(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value:
            return None
        parts = urlsplit("")
        try:
            parts = urlsplit(value)
            known = parts.scheme in ("redis", "rediss", "unix") and (parts.port or 1) > 0
        except ValueError:
            parts, known = urlsplit(""), False
        database = parts.path.strip("/")
        if not known or (parts.scheme != "unix" and not (parts.hostname and (not database or database.isdigit()))):
            raise ValueError("write it as redis://[[user]:password@]host[:port][/database], with rediss:// for TLS")
        password = info.data.get("redis_password")
        if not password or parts.password is not None or parts.scheme == "unix":
            return value
        user, _, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user.rstrip(':')}:{quote(password, safe='')}@{host}").geturl()

    @property
    def logs_json(self) -> bool:
        """Whether the servers log as JSON."""
        return self.log_format == "json" if self.log_format is not None else not self.is_dev

    @property
    def serves_login(self) -> bool:
        """Whether anyone can log in with a password: in development, and where a password is set."""
        return self.is_dev or bool(self.login_password)

    @property
    def is_dev(self) -> bool:
        """Whether development conveniences are on."""
        return self.env == "dev"

    @property
    def serves_docs(self) -> bool:
        """Whether the pages that describe the app are served."""
        return self.is_dev if self.docs is None else self.docs

    @property
    def action_modules(self) -> tuple[str, ...]:
        """The modules to look for actions in."""
        return (f"{self.main}.actions",) if self.main else self.action_path

    @property
    def channel_modules(self) -> tuple[str, ...]:
        """The modules to look for event channels in."""
        return (f"{self.main}.event_channels",) if self.main else self.event_channel_path

    @property
    def names_channel_modules(self) -> bool:
        """Whether the user named them, so that an absent one is an error."""
        return "event_channel_path" in self.model_fields_set

    @property
    def template_folder(self) -> Path:
        """The folder of templates: beside the modules, or inside the main package."""
        return Path(*self.main.split("."), "templates") if self.main else Path(self.template_path)

    @property
    def names_action_modules(self) -> bool:
        """Whether the user named them, so that an absent one is an error."""
        return bool(self.main) or "action_path" in self.model_fields_set


class _Files(PydanticBaseSettingsSource):
    """Settings out of files, as container engines hand secrets over: JWT_SECRET_KEY_FILE is where JWT_SECRET_KEY is."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """What the file of one setting has. Errors: ConfigError where it can not be read, or is not the only word."""
        names = names_of(field_name, field)
        for name in names:
            place = os.environ.get(f"{name}_FILE")
            if not place:
                continue
            twin = next((each for each in names if each in os.environ), None)
            if twin is not None:
                raise ConfigError(f"setting {twin}: {name}_FILE is set too; keep one of them")
            try:
                text = Path(place).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise ConfigError(f"setting {name}_FILE: {place} can not be read: {reason}") from None
            return text, names[0], False
        return None, names[0], False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[key if field.validation_alias else field_name] = value
        return found


def names_of(field_name: str, field: FieldInfo) -> list[str]:
    """The environment variables of a setting, the one that counts first."""
    alias = field.validation_alias
    return (
        [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [f"SERVEY_{field_name.upper()}"]
    )


def _problem(item: Any) -> str:
    name = str(item["loc"][0]) if item["loc"] else "settings"
    variable = name if name.isupper() else f"SERVEY_{name.upper()}"
    secret = any(variable in names_of(*each) for each in _secrets())
    return f"setting {variable}: {item['msg']}" + ("" if secret or "KEY" in variable else f", not {item['input']!r}")


def _secrets() -> list[tuple[str, FieldInfo]]:
    """The settings that do not show themselves."""
    return [(name, field) for name, field in Settings.model_fields.items() if not field.repr]
