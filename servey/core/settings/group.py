"""What the groups of settings have in common.

In each group annotations are evaluated as they are: Pydantic would parse their texts again, a third of the time for the
class.
"""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "SERVEY_"


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Several values in one variable, separated by commas."""


class SettingsGroup(BaseSettings):
    """Some of the fields of `Settings`. Nobody makes a group alone, so Pydantic builds no validator for it."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, populate_by_name=True, frozen=True, extra="ignore", defer_build=True
    )
