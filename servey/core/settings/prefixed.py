"""The settings of an app that another app installs or mounts."""

from __future__ import annotations

from typing import Any, ClassVar

from servey.core.settings import Settings
from servey.core.settings.group import PREFIX


class PrefixedSettings(Settings):
    """The settings of an app inside a host: only ``SERVEY_`` variables, because the other names may be the host's own."""

    only_prefix: ClassVar[str] = PREFIX

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
