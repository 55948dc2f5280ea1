"""One text for each value: equal for values that no function can tell apart, different for all others.

Neither ``repr`` nor JSON is that: the one shows addresses, the other hides secrets and whatever a serializer leaves out.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import AnyUrl, BaseModel, SecretBytes, SecretStr
from pydantic_core import MultiHostUrl, Url

_TOLD_BY_TEXT = (
    Decimal,
    UUID,
    PurePath,
    AnyUrl,
    Url,
    MultiHostUrl,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)


class NotPlainError(TypeError):
    """A value that has no such text: a session, an open file, an object of a class that only its author knows."""


def canonical(value: Any) -> str:
    """The text of a value. Errors: NotPlainError."""
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind is float:
        return [name, repr(value)]
    if isinstance(value, Enum):
        return [name, value.name]
    if isinstance(value, str | bytes | bytearray):
        return [name, value.hex() if isinstance(value, bytes | bytearray) else str.__str__(value)]
    if isinstance(value, SecretStr | SecretBytes):
        return [name, _plain(value.get_secret_value())]
    if isinstance(value, datetime | time):
        return [name, value.isoformat(), str(value.tzinfo), value.fold]
    if isinstance(value, date | timedelta):
        return [name, str(value)]
    if isinstance(value, re.Pattern):
        return [name, _plain(value.pattern), value.flags]
    if isinstance(value, _TOLD_BY_TEXT):
        return [name, str(value)]
    return [name, *_parts(value)]


def _parts(value: Any) -> list[Any]:
    if isinstance(value, BaseModel):
        return [_pairs({**value.__dict__, **(value.__pydantic_extra__ or {})})]
    if is_dataclass(value) and not isinstance(value, type):
        return [_pairs({each.name: getattr(value, each.name) for each in fields(value)})]
    if isinstance(value, Mapping):
        return [_pairs(value)]
    if isinstance(value, set | frozenset):
        return sorted(map(canonical, value))
    if isinstance(value, list | tuple | deque):
        return [_plain(each) for each in value]
    raise NotPlainError(f"a {type(value).__qualname__} is no plain value")


def _pairs(mapping: Mapping[Any, Any]) -> list[list[Any]]:
    return sorted(([canonical(key), _plain(value)] for key, value in mapping.items()), key=lambda pair: pair[0])
