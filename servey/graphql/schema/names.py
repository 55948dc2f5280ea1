"""Conversion of Python names to GraphQL names."""

from __future__ import annotations

import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions

from servey.core.actions.naming import camel_case

_LEGAL = re.compile(r"(?!__)[_A-Za-z][_0-9A-Za-z]*", re.ASCII)
_PARTS = re.compile(r"[_.\-]+")


def is_valid_name(name: str) -> bool:
    """Whether this is a valid GraphQL name."""
    return _LEGAL.fullmatch(name) is not None


def field_name(name: str) -> str | None:
    """Return ``sayHello`` for ``say_hello``, keeping outer underscores, or None if the result is not a valid name."""
    core = name.strip("_")
    before, _, after = name.partition(core) if core else ("", "", "")
    first, *others = _PARTS.split(core)
    made = before + first + "".join(part[:1].upper() + part[1:] for part in others) + after
    return made if core and is_valid_name(made) else None


def type_name(annotation: Any, qualify: Literal["", "arguments", "all"] = "") -> str | None:
    """Return ``User`` for a class, ``UserPage`` for ``Page[User]``, or None if the result is not a valid name.

    Shape: ``qualify`` adds modules: ``SalesUserPage`` for the type arguments, ``SalesUserWebPage`` for all classes.
    """
    made = _name_of(annotation, qualify, top=True)
    return made if is_valid_name(made) else None


def _name_of(annotation: Any, qualify: str, top: bool = False) -> str:
    generic = getattr(annotation, "__pydantic_generic_metadata__", None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if generic and generic["origin"]:
        origin, arguments = generic["origin"], generic["args"]
    if origin is None:
        return _class_name(annotation, qualify == "all" or (qualify == "arguments" and not top))
    if origin is Annotated:
        return _name_of(arguments[0], qualify)
    if origin in (Literal, typing_extensions.Literal):
        return "Or".join(camel_case(str(getattr(value, "name", value))) for value in arguments)
    names = [_name_of(argument, qualify) for argument in arguments if argument is not ...]
    if origin in (Union, types.UnionType):
        some = [name for name in names if name != "None"]
        return ("Optional" if len(some) < len(names) else "") + "Or".join(some)
    return "".join(names) + _class_name(origin, qualify == "all")


def _class_name(cls: Any, qualified: bool) -> str:
    if cls is None or cls is type(None):
        return "None"
    module = getattr(cls, "__module__", "")
    prefix = camel_case(module.rpartition(".")[2]) if qualified and module not in ("builtins", "typing") else ""
    return prefix + camel_case(getattr(cls, "__name__", ""))
