"""Results as JSON bytes without a serializer, where a type's JSON is simply what is in its objects.

`encoder_of` says for which types that holds. The bytes are pydantic's own, or there are none: whatever an encoder is not
sure of, an object of a class below the declared one or a value that pydantic treats in its own way, is left to pydantic.
In two cases that takes an object that nothing has validated: a bool put where a whole number is declared is ``true`` and not
``1``, an enum put where a model is declared is its value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import orjson
from pydantic import TypeAdapter

from servey.compat.pydantic import Plain, plain_of

Encode: TypeAlias = Callable[[Any], bytes | None]
"""The JSON of a result that need not be validated either; None for one that is not plain."""

# What pydantic does otherwise goes to `default`, which knows the models alone.
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS


def encoder_of(adapter: TypeAdapter[Any]) -> Encode | None:
    """What writes the plain results of a type; None where there are none."""
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
    dumps, cls, count, inside = orjson.dumps, plain.outer, plain.models[plain.outer], _inside(plain)

    def encode(value: Any) -> bytes | None:
        if type(value) is cls and len(fields := value.__dict__) == count:
            try:
                return dumps(fields, inside, _OPTIONS)
            except TypeError:
                pass
        return None

    return encode


def _of_list(plain: Plain) -> Encode:
    dumps, cls, count, inside = orjson.dumps, plain.outer, plain.models[plain.outer], _inside(plain)

    def encode(values: Any) -> bytes | None:
        if type(values) is list:
            rows = [fields for each in values if type(each) is cls and len(fields := each.__dict__) == count]
            if len(rows) == len(values):
                try:
                    return dumps(rows, inside, _OPTIONS)
                except TypeError:
                    pass
        return None

    return encode


def _inside(plain: Plain) -> Callable[[Any], dict[str, Any]]:
    """What stands for an object inside of another one."""
    models = plain.models

    def fields_of(value: Any) -> dict[str, Any]:
        fields: dict[str, Any] = getattr(value, "__dict__", {})
        if models.get(type(value)) != len(fields):
            raise TypeError
        return fields

    return fields_of


def _or_null(encode: Encode) -> Encode:
    def encode_optional(value: Any) -> bytes | None:
        return b"null" if value is None else encode(value)

    return encode_optional
