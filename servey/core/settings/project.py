"""The settings of what the app is made of."""

from typing import Literal

from pydantic import Field, field_validator

from servey.core.settings.group import Names, SettingsGroup
from servey.core.settings.sources import host_names_in, project_name


class ProjectSettings(SettingsGroup):
    """What the app is made of, and what it serves."""

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

    @field_validator("namespace")
    @classmethod
    def _of_the_project(cls, value: str) -> str:
        return value or project_name()

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return host_names_in(value)
