"""The settings of an app; the only place that reads the environment.

Annotations are evaluated here as they are: Pydantic would parse their texts again, a third of the time for the class.
"""

import logging
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, AwareDatetime, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from servey.core.errors import ConfigError
from servey.core.settings.sources import (
    host_names_in,
    problem_text,
    project_name,
    redis_url_with_password,
    setting_sources,
    token_schemes_in,
    warn_of_unknown,
)

logger: logging.Logger = logging.getLogger("servey")

PREFIX = "SERVEY_"
JWT_LEEWAY = 30
Names = Annotated[tuple[str, ...], NoDecode]
"""Several values in one variable, separated by commas."""


class Settings(BaseSettings):
    """Everything that an operator may set: by environment variable, or by name in code.

    Units: durations in seconds, sizes in bytes.
    Errors: ConfigError that names each invalid variable.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, populate_by_name=True, frozen=True, extra="ignore"
    )
    only_prefix: ClassVar[str] = ""

    env: Literal["dev", "prod"] = Field(
        "prod", description="dev enables development tools; prod enforces safe settings"
    )
    env_file: str = Field(
        "", description="a file of NAME=value lines that every command reads; `servey dev` reads .env without it"
    )
    app: str = Field(
        "",
        description="the app of every command, as module:name; by default servey_app in app.py, or the found actions",
    )
    main: str = Field("", description="the package that holds actions, event_channels and templates")
    action_path: Names = Field(("actions",), description="modules or packages that define actions")
    event_channel_path: Names = Field(("event_channels",), description="modules or packages that define event channels")
    template_path: str = Field("templates", description="the folder of page templates")
    api_title: str = Field("Servey", description="the title in OpenAPI")
    docs: bool | None = Field(None, description="serve /docs, /redoc and /openapi.json; by default in development only")
    console: bool = Field(False, description="serve /_servey in production, for the scope servey:operate")
    problems: bool = Field(
        False, description="answer errors as application/problem+json (RFC 9457), whatever the client accepts"
    )
    strict_schema: bool = Field(False, description="reject unknown parameters with 422 instead of ignoring them")
    plugins: Names = Field((), description="functions that replace parts of the app, as package.module:name")
    namespace: str = Field(
        "",
        pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$",
        validate_default=True,
        description="prefix of every Redis key and channel, in braces; by default the project's name",
    )
    static_site_dir: str = Field(
        "static_site", description="the folder of static files, served for paths that match no route"
    )
    static_site_fallback: str | None = Field(
        None, description="the file to serve instead of a 404, e.g. index.html for a single-page app"
    )
    page_csp: str = Field(
        "frame-ancestors 'self'; base-uri 'self'; object-src 'none'",
        description="the Content-Security-Policy of pages that do not set one",
    )
    allowed_hosts: Names = Field(
        (),
        description=(
            "accepted Host names, with *.example.com for subdomains; "
            "in development loopback names and names without a dot too"
        ),
    )
    redirect_origins: Names = Field((), description="other origins that a Redirect may point to")

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

    jwt_secret_key: str | None = Field(
        None,
        validation_alias=AliasChoices("SERVEY_JWT_SECRET_KEY", "JWT_SECRET_KEY"),
        repr=False,
        description="the secret of HS256 tokens, at least 32 bytes in production",
    )
    cursor_key: str | None = Field(None, repr=False, description="signs cursors of pages; by default the JWT secret")
    jwt_public_key: str | None = Field(None, description="a PEM public key: RS256 for RSA, ES256 for P-256")
    jwks_url: str | None = Field(None, description="the URL of an issuer's public keys (JWKS): RS256, ES256")
    jwt_issuer: str | None = Field(None, description="the only accepted issuer (iss)")
    jwt_audience: str | None = Field(None, description="the required audience (aud)")
    jwt_require_exp: bool = Field(True, description="reject tokens without exp")
    token_schemes: Names = Field(("Bearer",), description="accepted schemes of the Authorization header, in any case")
    jwt_leeway: float = Field(JWT_LEEWAY, ge=0, description="allowed clock skew when token times are checked")

    login_username: str = Field(
        "root",
        validation_alias=AliasChoices("SERVEY_LOGIN_USERNAME", "DEBUG_AUTHENTICATOR_USERNAME"),
        description="the user name for /login",
    )
    login_password: str | None = Field(
        None,
        validation_alias=AliasChoices("SERVEY_LOGIN_PASSWORD", "SERVEY_DEBUG_AUTHENTICATOR_PASSWORD"),
        repr=False,
        description="the password for /login; without one, /login exists only in development, with a random password",
    )

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

    graphql_path: str = Field(
        "/graphql", pattern=r"^/[^\s{}?#]*[^/\s{}?#]$", description="the path of the GraphQL endpoint"
    )
    graphql_max_depth: int = Field(15, ge=1, description="maximum depth of a GraphQL operation")
    graphql_max_aliases: int = Field(
        30, ge=0, description="maximum number of aliases and repeated fields in a GraphQL document"
    )
    graphql_max_tokens: int = Field(2000, ge=1, description="maximum number of tokens in a GraphQL document")
    graphql_max_nodes: int = Field(
        10_000,
        ge=1,
        description="maximum number of objects in the response to a GraphQL operation, and of calls of methods",
    )
    graphql_concurrency: int | None = Field(
        None, ge=1, description="how many fields of one GraphQL operation run at once; 1 runs them one after another"
    )
    graphql_max_batch: int = Field(
        1, ge=1, description="maximum number of GraphQL operations in one request; send several as a list"
    )
    graphql_max_operations: int = Field(
        100, ge=1, description="maximum number of open operations on one GraphQL websocket"
    )

    mcp: Literal["declared", "web", "off"] = Field(
        "declared",
        description="which actions agents can use over MCP: those with an McpTrigger, or with web triggers too",
    )
    mcp_path: str = Field("/mcp", pattern=r"^/[^\s{}?#]*[^/\s{}?#]$", description="the path of the MCP endpoint")
    mcp_lists: Literal["callable", "all"] = Field(
        "callable", description="what MCP lists: what the caller's access rules allow, or everything"
    )
    mcp_max_listed: int = Field(50, ge=1, description="with more tools, MCP lists two that search and call them")

    cache_max_entries: int = Field(
        10_000, ge=0, description="maximum number of cached results in memory, without Redis"
    )
    cache_max_bytes: int = Field(64 << 20, ge=0, description="maximum total size of cached results in memory")
    cache_prefix: str = Field("servey", description="prefix of cache keys; each app on the same Redis needs its own")
    channel_connections: int = Field(
        10_000, ge=1, description="maximum number of open websockets, event streams and MCP listeners in one process"
    )
    channel_per_socket: int = Field(
        128, ge=1, description="maximum number of channels that one websocket may subscribe to"
    )
    channel_frame_bytes: int = Field(1 << 16, ge=128, description="maximum size of a frame from a websocket client")
    channel_queue: int = Field(
        1000, ge=1, description="maximum number of events queued for one subscriber; a slower one is disconnected"
    )
    channel_queue_bytes: int = Field(1 << 20, ge=1, description="maximum size of the events queued for one subscriber")
    channel_idle: float = Field(60, gt=0, description="how long a websocket without subscriptions stays open")
    channel_ping: float = Field(15, gt=0, description="seconds of silence before an event stream sends a ping")
    serverless_yml: str = Field(
        "serverless.yml",
        validation_alias=AliasChoices("SERVEY_SERVERLESS_YML", "MAIN_SERVERLESS_YML_FILE"),
        description="the file that `servey sls` maintains",
    )
    aws_router_for_all: bool = Field(
        True, description="one Lambda function for everything; 0 creates one function for each action"
    )
    aws_action: str | None = Field(None, description="the function's only action; a plain event is its parameters")
    aws_handler: str = Field("servey.aws.handler", description="the Lambda handler, as package.module.name")
    aws_authorizer: str | None = Field(
        None, description="the API Gateway authorizer whose claims are trusted, by its name"
    )
    appsync: bool = Field(False, description="also generate an AppSync API with `servey sls`")
    appsync_key_expires: AwareDatetime | None = Field(
        None, description="when that API's key expires, at most 365 days ahead; by default 7 days after it was created"
    )
    aws_domain: str | None = Field(None, description="the domain of the static site on CloudFront")
    aws_certificate_arn: str | None = Field(None, description="the certificate of that domain, in region us-east-1")
    kms_key_id: str | None = Field(
        None,
        validation_alias=AliasChoices("SERVEY_KMS_KEY_ID", "KMS_KEY_ID"),
        description="the ARN of the KMS key that signs tokens (RS256); add older keys after commas",
    )
    queue_url: str | None = Field(None, description="the SQS queue of jobs")
    dead_queue_url: str | None = Field(None, description="the SQS dead-letter queue of jobs")
    connection_table: str | None = Field(None, description="the DynamoDB table of websocket connections and job states")
    websocket_endpoint: str | None = Field(
        None, description="the API Gateway endpoint that sends messages to websocket connections"
    )

    job_concurrency: int = Field(50, ge=1, description="maximum number of concurrent jobs in one worker process")
    job_queues: str | None = Field(
        None, description="queues that a worker reads, e.g. `mail=3,default`; by default all"
    )
    job_grace: float = Field(30, ge=0, description="how long running jobs may continue after SIGTERM")
    job_lease: float = Field(15, ge=1, description="how long a job stays assigned to a worker that sends no heartbeat")
    webhook_concurrency: int = Field(
        10, ge=1, description="maximum number of concurrent deliveries of one webhook in one worker process"
    )
    job_keep: float = Field(86_400, ge=1, description="how long the result of a job and its key are kept")
    job_max_entries: int = Field(10_000, ge=1, description="maximum number of waiting jobs in memory, without Redis")
    job_max_bytes: int = Field(64 << 20, ge=1, description="maximum total size of jobs and results in memory")

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

    def __init__(self, **values: Any) -> None:
        warn_of_unknown(Settings.model_fields)
        if "CELERY_BROKER" in os.environ:
            logger.warning("CELERY_BROKER is no longer used; set SERVEY_REDIS_URL for the Redis that stores jobs")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(
                problem_text(item, Settings.model_fields) for item in error.errors(include_url=False)
            ) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources by priority: arguments, environment variables, files named by `_FILE` variables."""
        return setting_sources(settings_cls, init_settings, env_settings, cls.only_prefix)

    @field_validator(
        "action_path",
        "event_channel_path",
        "allowed_hosts",
        "cors_allowed_origins",
        "redirect_origins",
        "plugins",
        "token_schemes",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("namespace")
    @classmethod
    def _of_the_project(cls, value: str) -> str:
        return value or project_name()

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return host_names_in(value)

    @field_validator("token_schemes")
    @classmethod
    def _schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return token_schemes_in(value)

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in (levels := ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")):
            raise ValueError(f"use one of {', '.join(levels)}")
        return value.upper()

    @field_validator("redis_url")
    @classmethod
    def _with_password(cls, value: str | None, info: ValidationInfo) -> str | None:
        return redis_url_with_password(value, info.data.get("redis_password"))

    @property
    def redis_prefix(self) -> str:
        """The beginning of every key and channel in Redis.

        The braces are a hash tag: Redis Cluster keeps all keys of an app in one slot, as scripts need it.
        """
        return f"{{{self.namespace}}}:"

    @property
    def logs_json(self) -> bool:
        """Whether the servers log as JSON."""
        return self.log_format == "json" if self.log_format is not None else not self.is_dev

    @property
    def serves_login(self) -> bool:
        """Whether /login exists: in development, or if a password is set."""
        return self.is_dev or bool(self.login_password)

    @property
    def is_dev(self) -> bool:
        """Whether the app runs in development mode."""
        return self.env == "dev"

    @property
    def serves_docs(self) -> bool:
        """Whether the documentation pages are served."""
        return self.is_dev if self.docs is None else self.docs

    @property
    def action_modules(self) -> tuple[str, ...]:
        """The modules that define actions."""
        return (f"{self.main}.actions",) if self.main else self.action_path

    @property
    def channel_modules(self) -> tuple[str, ...]:
        """The modules that define event channels."""
        return (f"{self.main}.event_channels",) if self.main else self.event_channel_path

    @property
    def names_channel_modules(self) -> bool:
        """Whether the user named them, so that an absent one is an error."""
        return "event_channel_path" in self.model_fields_set

    @property
    def template_folder(self) -> Path:
        """The folder of page templates: beside the modules, or inside the main package."""
        return Path(*self.main.split("."), "templates") if self.main else Path(self.template_path)

    @property
    def names_action_modules(self) -> bool:
        """Whether the user named them, so that an absent one is an error."""
        return bool(self.main) or "action_path" in self.model_fields_set
