"""What Python's names are called in GraphQL."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

from servey.actions import camel_case

_LEGAL = re.compile(r"(?!__)[_A-Za-z][_0-9A-Za-z]*", re.ASCII)
_PARTS = re.compile(r"[_.\-]+")


def is_legal(name: str) -> bool:
    """Whether GraphQL takes a name as it is."""
    return _LEGAL.fullmatch(name) is not None


def field_name(name: str) -> str | None:
    """``say_hello`` as ``sayHello``; underscores around it stay. None for what GraphQL can not spell."""
    core = name.strip("_")
    before, _, after = name.partition(core) if core else ("", "", "")
    first, *others = _PARTS.split(core)
    made = before + first + "".join(part[:1].upper() + part[1:] for part in others) + after
    return made if core and is_legal(made) else None


def type_name(annotation: Any) -> str | None:
    """``User`` for a class, ``UserPage`` for ``Page[User]``. None for what GraphQL can not spell."""
    generic = getattr(annotation, "__pydantic_generic_metadata__", None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if generic and generic["origin"]:
        origin, arguments = generic["origin"], generic["args"]
    if origin is None:
        name = getattr(annotation, "__name__", None)
    else:
        name = "".join(type_name(argument) or "" for argument in arguments) + getattr(origin, "__name__", "")
    made = camel_case(name) if name else ""
    return made if is_legal(made) else None
