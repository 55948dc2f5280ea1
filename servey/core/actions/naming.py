"""Names of actions in the styles of paths and schemas, and paths of files as people read them."""

from __future__ import annotations

import re


def camel_case(name: str) -> str:
    """Convert ``say_hello`` to ``SayHello``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^0-9A-Za-z]+", name))


def kebab_case(name: str) -> str:
    """Convert ``say_hello`` and ``SayHello`` to ``say-hello``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[\s_.]+", "-", words).strip("-").lower()


def relative_path(path: str) -> str:
    """Return a file's path relative to the working directory if it is inside it."""
    import os

    below = os.path.relpath(path) if os.path.isabs(path) else path
    return path if below.startswith("..") else below
