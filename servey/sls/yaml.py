"""Write JSON values as YAML, deterministically."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
"""Words that some YAML parsers do not read as strings."""


def dump(value: Any) -> str:
    """Return a value as a YAML document; mappings keep their order."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any, indent: str = "") -> list[str]:
    lines: list[str] = []
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            lines += _entry(f"{indent}{scalar(key)}:", item, indent)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for item in value:
            inner = _lines(item, indent + "  ")
            if isinstance(item, Mapping | list | tuple) and item:
                lines += [f"{indent}- {inner[0].lstrip()}", *inner[1:]]
            else:
                lines.append(f"{indent}- {inner[0].lstrip()}")
    else:
        lines.append(indent + scalar(value))
    return lines


def _entry(head: str, item: Any, indent: str) -> list[str]:
    if isinstance(item, str) and "\n" in item:
        body = [f"{indent}  {line}".rstrip() for line in item.rstrip("\n").split("\n")]
        return [f"{head} |", *body]
    if isinstance(item, Mapping | list | tuple) and item:
        return [head, *_lines(item, indent + "  ")]
    return [f"{head} {scalar(item)}"]


def scalar(value: Any) -> str:
    """Return a scalar as YAML."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
