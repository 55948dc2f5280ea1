"""Parameters as the request of a REST route: what goes into the path, and what into the query string."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote


def filled_path(path: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a path with its parameters filled in, and the other parameters."""
    rest = dict(params)
    filled = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: quote(_text(rest.pop(found[1], "")), safe=""), path)
    return filled, rest


def flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the pairs of a query string: dots for nested objects, a repeated key for a list."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield from ((f"{prefix}{name}", _text(item)) for item in value)
        elif value is not None:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
