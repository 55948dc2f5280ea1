"""One text for each value: values with the same text are indistinguishable, so they can share a cache key.

Neither ``repr`` nor JSON is such a text: ``repr`` shows addresses, and JSON leaves out secrets, types and private
attributes. A value that this module does not know completely has no text.
"""

from __future__ import annotations

import json
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AnyUrl, BaseModel, PostgresDsn, SecretBytes, SecretStr
from pydantic_core import MultiHostUrl, TzInfo, Url

from servey.core.actions.paging import Cursor

_PATHS = (PosixPath, PurePosixPath, PureWindowsPath, WindowsPath)
_ADDRESSES = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_URLS: tuple[Any, ...] = (AnyUrl.__mro__[-2], PostgresDsn.__mro__[-2])
"""The base classes of Pydantic's URL types."""
_HEAP_TYPE = 1 << 9
"""``Py_TPFLAGS_HEAPTYPE``, which every class that a class statement creates has."""
_LARGE_INT = 1 << 64
_BASES = (str, int, float, bytes)
"""Built-in types whose subclasses have a text: that of the built-in value, and their attributes."""


class NotPlainError(TypeError):
    """The value has no text: a session, an open file, an object of a class with unknown state, a cycle."""


def canonical(value: Any, *, exact: bool = True) -> str:
    """The text of a value. Errors: NotPlainError.

    Without ``exact``, values that compare equal have the same text even if code could tell them apart: dicts with another
    order, models with other ``model_fields_set`` or private attributes.
    """
    try:
        return json.dumps(_Writer(exact).plain(value), separators=(",", ":"))
    except RecursionError:
        raise NotPlainError("the value is nested too deeply") from None


def state_of(value: Any) -> dict[str, Any]:
    """Every attribute of an object whose classes are all written in Python. Errors: NotPlainError for other objects."""
    for each in type(value).__mro__:
        if each not in (object, *_BASES) and not each.__flags__ & _HEAP_TYPE:
            raise NotPlainError(f"a {type(value).__qualname__} is a {each.__qualname__} with more in it")
    state = dict(getattr(value, "__dict__", {}))
    if "__orig_class__" in state:  # of a generic class, set by typing
        state["__orig_class__"] = repr(state["__orig_class__"])
    for each in type(value).__mro__:
        slots = vars(each).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name in ("__dict__", "__weakref__"):
                continue
            mangled = (
                f"_{each.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
            )
            if hasattr(value, mangled):
                state[mangled] = getattr(value, mangled)
    return state


def _builtin(value: Any, base: type) -> Any:
    """The built-in value of a subclass, whatever methods the subclass overrides."""
    if base is str:
        return str.__str__(value)
    return base.__new__(bytes, value) if base is bytes else base.__add__(value, 0)  # type: ignore[operator]


def _tz(zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return ["zone", zone.key]
    if type(zone) in (timezone, TzInfo):
        return [type(zone).__name__, repr(zone)]
    raise NotPlainError(f"a time zone of the type {type(zone).__qualname__} has no key")


_SCALARS: dict[type, Callable[[Any], Any]] = {
    float: repr,
    complex: repr,
    bytes: bytes.hex,
    bytearray: bytearray.hex,
    Decimal: str,
    Fraction: str,
    UUID: lambda value: [value.hex, value.is_safe.name],
    range: lambda value: [value.start, value.stop, value.step],
    datetime: lambda value: [
        value.replace(tzinfo=None).isoformat(),
        str(value.utcoffset()),
        _tz(value.tzinfo),
        value.fold,
    ],
    time: lambda value: [value.replace(tzinfo=None).isoformat(), str(value.utcoffset()), _tz(value.tzinfo), value.fold],
    date: str,
    timedelta: lambda value: [value.days, value.seconds, value.microseconds],
    **dict.fromkeys((*_PATHS, *_ADDRESSES, Cursor, Url, MultiHostUrl), str),
}


class _Writer:
    """Turns one value into JSON data: plain scalars as they are, everything else as a list that starts with its type."""

    def __init__(self, exact: bool) -> None:
        self._exact = exact
        self._open: set[int] = set()

    def plain(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            return value if -_LARGE_INT < value < _LARGE_INT else ["int", hex(value)]
        name = f"{kind.__module__}.{kind.__qualname__}"
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return [name, scalar(value)]
        if isinstance(value, Enum):
            return [name, self._member(value)]
        if kind in (SecretStr, SecretBytes):
            return [name, self.plain(value.get_secret_value())]
        if kind is re.Pattern:
            return [name, self.plain(value.pattern), value.flags]
        if id(value) in self._open:
            raise NotPlainError("the value contains itself")
        self._open.add(id(value))
        try:
            return [name, *self._parts(value, kind)]
        finally:
            self._open.discard(id(value))

    def _member(self, value: Enum) -> Any:
        if isinstance(value, Flag):
            return self.plain(value._value_)
        if type(value)._member_map_.get(value._name_) is not value:
            raise NotPlainError(f"{value!r} is not a member of its enum")
        return value._name_

    def _parts(self, value: Any, kind: type) -> list[Any]:
        if isinstance(value, BaseModel):
            return [self._pairs(self._model(value), ordered=False)]
        if is_dataclass(kind):
            return [self._pairs(self._dataclass(value), ordered=False)]
        if kind in (dict, OrderedDict, Counter):
            return [self._pairs(value, ordered=self._exact)]
        if kind in (set, frozenset):
            return sorted(json.dumps(self.plain(each)) for each in value)
        if kind in (list, tuple):
            return [self.plain(each) for each in value]
        if kind is deque:
            return [value.maxlen, *(self.plain(each) for each in value)]
        if kind.__bases__ == (tuple,) and hasattr(kind, "_fields") and not hasattr(value, "__dict__"):
            return [self.plain(each) for each in value]
        for base in _BASES:
            if isinstance(value, base):
                return [self.plain(base(_builtin(value, base))), self._pairs(state_of(value), ordered=False)]
        if isinstance(value, _URLS):
            return [self._pairs(state_of(value), ordered=False)]
        raise NotPlainError(f"a {kind.__qualname__} is not a plain value")

    def _model(self, value: BaseModel) -> Mapping[str, Any]:
        if not self._exact:
            return {**value.__dict__, **(value.__pydantic_extra__ or {})}
        return state_of(value)

    def _dataclass(self, value: Any) -> Mapping[str, Any]:
        state = state_of(value)
        if not self._exact:
            return {each.name: getattr(value, each.name) for each in fields(value)}
        return state

    def _pairs(self, mapping: Mapping[Any, Any], *, ordered: bool) -> list[Any]:
        pairs = [[self.plain(key), self.plain(each)] for key, each in mapping.items()]
        return pairs if ordered else sorted(pairs, key=lambda pair: json.dumps(pair[0]))
