"""The settings of an app; the only place that reads the environment."""

import logging
import os
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from servey.core.errors import ConfigError
from servey.core.settings.aws import AwsSettings
from servey.core.settings.jobs import JobSettings
from servey.core.settings.project import ProjectSettings
from servey.core.settings.server import ServerSettings
from servey.core.settings.sources import problem_text, setting_sources, warn_of_unknown
from servey.core.settings.storage import StorageSettings
from servey.core.settings.tokens import TokenSettings
from servey.core.settings.transports import TransportSettings

logger: logging.Logger = logging.getLogger("servey")


class Settings(
    AwsSettings, JobSettings, StorageSettings, TransportSettings, TokenSettings, ServerSettings, ProjectSettings
):
    """Everything that an operator may set: by environment variable, or by name in code.

    Units: durations in seconds, sizes in bytes.
    Errors: ConfigError that names each invalid variable.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(defer_build=False)
    only_prefix: ClassVar[str] = ""

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
