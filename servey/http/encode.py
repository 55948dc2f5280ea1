"""Encodes results to JSON with orjson if their type needs no serializer.

`encoder_of` decides for which types that is safe. The bytes are the same as pydantic's, or the encoder returns None and
pydantic serializes the result: for an object of a subclass, or a value that pydantic serializes in another way. Two
differences remain, both for objects that were never validated: a bool in an int field becomes ``true`` instead of ``1``, and
an enum in a model field becomes its value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import orjson
from pydantic import TypeAdapter

from servey.compat.pydantic import Plain, plain_of

Encode: TypeAlias = Callable[[Any], bytes | None]
"""Returns the JSON of a result, or None if pydantic has to serialize it."""

# Types that pydantic serializes in another way go to `default`, which accepts only the models.
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS


def encoder_of(adapter: TypeAdapter[Any]) -> Encode | None:
    """Return the encoder of a type, or None if pydantic has to serialize it."""
    plain = plain_of(adapter.core_schema)
    if plain is None:
        return None
    encode = _of_list(plain) if plain.is_list else _of_model(plain) if plain.models else _of_scalar(plain.outer)
    return _or_null(encode) if plain.is_optional else encode


def _of_scalar(type_: type) -> Encode:
    dumps = orjson.dumps

    def encode(value: Any) -> bytes | None:
        if type(value) is type_:
            try:
                return dumps(value, None, _OPTIONS)
            except TypeError:
                pass
        return None

    return encode


def _of_model(plain: Plain) -> Encode:
    dumps, cls, names, inside = orjson.dumps, plain.outer, plain.models[plain.outer], _inside(plain)

    def encode(value: Any) -> bytes | None:
        if type(value) is cls and (*(fields := value.__dict__),) == names:
            try:
                return dumps(fields, inside, _OPTIONS)
            except TypeError:
                pass
        return None

    return encode


def _of_list(plain: Plain) -> Encode:
    dumps, cls, names, inside = orjson.dumps, plain.outer, plain.models[plain.outer], _inside(plain)

    def encode(values: Any) -> bytes | None:
        if type(values) is list:
            rows = [fields for each in values if type(each) is cls and (*(fields := each.__dict__),) == names]
            if len(rows) == len(values):
                try:
                    return dumps(rows, inside, _OPTIONS)
                except TypeError:
                    pass
        return None

    return encode


def _inside(plain: Plain) -> Callable[[Any], dict[str, Any]]:
    """Return orjson's ``default``: the fields of a nested model. It raises TypeError for anything else."""
    models = plain.models

    def fields_of(value: Any) -> dict[str, Any]:
        fields: dict[str, Any] = getattr(value, "__dict__", {})
        if models.get(type(value)) != (*fields,):
            raise TypeError
        return fields

    return fields_of


def _or_null(encode: Encode) -> Encode:
    def encode_optional(value: Any) -> bytes | None:
        return b"null" if value is None else encode(value)

    return encode_optional
