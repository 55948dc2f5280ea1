"""Turn a job's parameters into JSON and back, so that the action receives what its caller passed.

What is stored is the input, not what validation made of it: it is validated when the job runs. JSON input is stored
unchanged. Input with Python objects is stored in a tagged form: a JSON object with the key ``$`` stands for a value that
JSON does not have.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from re import Pattern
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, ValidationError
from pydantic_core import from_json, to_json, to_jsonable_python

Path = tuple[str | int, ...]
Validate = Callable[[Any], Mapping[str, Any]]
_TAG, _VALUE = "$", "v"


class NotStorable(Exception):
    """A value that a job cannot hold. ``loc`` is its place in the parameters."""

    def __init__(self, loc: Path, problem: str) -> None:
        super().__init__(f"{'.'.join(map(str, loc))}: {problem}")
        self.loc = loc
        self.problem = problem


@dataclasses.dataclass(frozen=True)
class Payload:
    """The parameters of a job as JSON. Shape: ``tagged`` if some values are in the tagged form."""

    params: Any
    tagged: bool = False

    def read(self) -> Any:
        """Return the input as the caller passed it."""
        return _decoded(self.params) if self.tagged else self.params


def payload_of(
    given: Mapping[str, Any], values: Mapping[str, Any], names: Mapping[str, str], check: Validate
) -> Payload:
    """Return what a queue stores for some input.

    Python objects are encoded and validated again at once: unless the result equals ``values``, the action would receive
    something else, and the input is refused.
    Shape: ``values`` is the validated ``given``; ``names`` is the parameter's name by each of its wire names; ``check``
    validates input as the action does.
    Errors: NotStorable names the first value that cannot be stored.
    """
    known = {key: value for key, value in given.items() if key in names}
    if _is_json(known):
        return Payload(_copied(known))
    problem: NotStorable | None = None
    # The input itself is best. Objects that only validation understands are stored as what it made of them.
    for source in (known, {key: values[names[key]] for key in known}):
        try:
            encoded = {key: _encoded(value, (key,)) for key, value in source.items()}
            payload = Payload(_copied(encoded), tagged=True)
            _check_round_trip(payload, known, values, names, check)
        except NotStorable as error:
            problem = problem or error
        except RecursionError:
            problem = problem or NotStorable(tuple(known)[:1], "it is nested too deeply, or contains itself")
        else:
            return payload
    assert problem is not None
    raise problem


def payload_of_value(value: Any) -> Payload:
    """Return one value as it is, whatever its serializers make of it. Errors: NotStorable."""
    return Payload(_copied({"value": _encoded(value, ())})["value"], tagged=True)


def _check_round_trip(
    payload: Payload, given: Mapping[str, Any], values: Mapping[str, Any], names: Mapping[str, str], check: Validate
) -> None:
    try:
        again = check(payload.read())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise NotStorable(
            first["loc"], f"stored as JSON it would not validate: {first['msg']}; pass plain data"
        ) from None
    control: Mapping[str, Any] | None = None
    for key in given:
        name = names[key]
        if _equal(values[name], again[name]):
            continue
        control = control if control is not None else check(given)
        if not _equal_but_for_defaults(values[name], again[name], control[name]):
            kind = type(values[name]).__name__
            raise NotStorable(
                (key,),
                f"this {kind} would not be equal once it is stored and validated again; pass the input it is made of",
            )


def _is_json(value: Any) -> bool:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        return all(type(key) is str and _is_json(each) for key, each in value.items())
    return kind is list and all(map(_is_json, value))


def _copied(value: Any) -> Any:
    """Return the value after a round trip through JSON. Errors: NotStorable."""
    try:
        return from_json(to_json(value))
    except ValueError as error:
        text = "text with half of a surrogate pair is not valid Unicode" if "surrogate" in str(error) else str(error)
        for key, each in value.items():
            try:
                from_json(to_json(each))
            except ValueError:
                raise NotStorable((key,), text) from None
        raise NotStorable((), text) from None


def _encoded(value: Any, loc: Path) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {_TAG: "float", _VALUE: str(value)}
    if isinstance(value, Enum):
        return _encoded(value.value, loc)
    if hasattr(value, "get_secret_value"):
        return _encoded(value.get_secret_value(), loc)
    if kind in _ENCODERS:
        return {_TAG: kind.__name__, **_ENCODERS[kind](value)}
    if isinstance(value, RootModel):
        return _encoded(value.root, loc)
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        known = {_input_name(value, name, fields[name]): each for name, each in vars(value).items() if name in fields}
        return _encoded_dict({**known, **(value.model_extra or {})}, loc)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in dataclasses.fields(value) if each.init and hasattr(value, each.name)]
        return _encoded_dict({name: getattr(value, name) for name in names}, loc)
    if isinstance(value, Mapping):
        return _encoded_dict(value, loc)
    if isinstance(value, list | tuple | set | frozenset | deque):
        items = [_encoded(each, (*loc, place)) for place, each in enumerate(value)]
        return {_TAG: kind.__name__, _VALUE: items} if kind in _CONTAINERS else items
    if isinstance(value, str | int | float):
        base = next(each for each in (str, int, float) if isinstance(value, each))
        return base(value)
    if isinstance(value, PurePath | ZoneInfo):
        return str(value)
    if isinstance(value, Pattern):
        return value.pattern
    return _encoded_otherwise(value, loc)


def _encoded_dict(value: Mapping[Any, Any], loc: Path) -> Any:
    if all(type(key) is str for key in value) and _TAG not in value:
        return {key: _encoded(each, (*loc, key)) for key, each in value.items()}
    pairs = [[_encoded(key, loc), _encoded(each, (*loc, str(key)))] for key, each in value.items()]
    return {_TAG: "dict", _VALUE: pairs}


def _encoded_otherwise(value: Any, loc: Path) -> Any:
    problem = NotStorable(loc, f"a {type(value).__name__} cannot be stored in a job; pass plain data")
    if isinstance(value, Iterator):
        raise problem  # to read it would use it up
    try:
        return to_jsonable_python(value)
    except ValueError:
        raise problem from None


def _input_name(model: BaseModel, name: str, info: Any) -> str:
    """Return the name under which validation accepts a field."""
    config = model.model_config
    alias = info.validation_alias
    if alias is None or config.get("populate_by_name") or config.get("validate_by_name"):
        return name
    if isinstance(alias, AliasChoices):
        return next((each for each in alias.choices if isinstance(each, str)), name)
    return name if isinstance(alias, AliasPath) else str(alias)


def _datetime(value: datetime) -> dict[str, Any]:
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        return {_VALUE: value.replace(tzinfo=None).isoformat(), "fold": value.fold, "zone": zone.key}
    return {_VALUE: value.isoformat()}


def _read_datetime(tagged: Mapping[str, Any]) -> datetime:
    moment = datetime.fromisoformat(tagged[_VALUE])
    zone = tagged.get("zone")
    return moment if zone is None else moment.replace(tzinfo=ZoneInfo(zone), fold=tagged["fold"])


def _base64(value: bytes | bytearray) -> dict[str, Any]:
    return {_VALUE: base64.b64encode(value).decode()}


_ENCODERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    bytes: _base64,
    bytearray: _base64,
    datetime: _datetime,
    date: lambda value: {_VALUE: value.isoformat()},
    time: lambda value: {_VALUE: value.isoformat()},
    timedelta: lambda value: {_VALUE: [value.days, value.seconds, value.microseconds]},
    Decimal: lambda value: {_VALUE: str(value)},
    UUID: lambda value: {_VALUE: str(value)},
}
_CONTAINERS = (tuple, set, frozenset)
_DECODERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "bytes": lambda tagged: base64.b64decode(tagged[_VALUE]),
    "bytearray": lambda tagged: bytearray(base64.b64decode(tagged[_VALUE])),
    "datetime": _read_datetime,
    "date": lambda tagged: date.fromisoformat(tagged[_VALUE]),
    "time": lambda tagged: time.fromisoformat(tagged[_VALUE]),
    "timedelta": lambda tagged: timedelta(*tagged[_VALUE]),
    "Decimal": lambda tagged: Decimal(tagged[_VALUE]),
    "UUID": lambda tagged: UUID(tagged[_VALUE]),
    "float": lambda tagged: float(tagged[_VALUE]),
    "dict": lambda tagged: {_decoded(key): _decoded(each) for key, each in tagged[_VALUE]},
    "tuple": lambda tagged: tuple(map(_decoded, tagged[_VALUE])),
    "set": lambda tagged: set(map(_decoded, tagged[_VALUE])),
    "frozenset": lambda tagged: frozenset(map(_decoded, tagged[_VALUE])),
}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _TAG in value:
        return _DECODERS[value[_TAG]](value)
    return {key: _decoded(each) for key, each in value.items()}


def _children(value: Any) -> dict[Any, Any] | None:
    """Return the parts of a container or an object with fields, or None for anything else."""
    if isinstance(value, BaseModel):
        private = value.__pydantic_private__ or {}
        return {**value.__dict__, **(value.model_extra or {}), **{f"_{name}": each for name, each in private.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple | deque):
        return dict(enumerate(value))
    if getattr(type(value), "__eq__", None) is object.__eq__ and hasattr(value, "__dict__"):
        return dict(vars(value))
    return None


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and one != one:
        return bool(other != other)
    parts, others = _children(one), _children(other)
    if parts is None or others is None:
        try:
            return bool(one == other)
        except Exception:
            return False
    return parts.keys() == others.keys() and all(_equal(parts[key], others[key]) for key in parts)


def _equal_but_for_defaults(one: Any, other: Any, control: Any) -> bool:
    """Compare two values; parts that differ each time the same input is validated (``default_factory``) do not count."""
    if _equal(one, other):
        return True
    if _equal(one, control):
        return False
    trees = [_children(each) for each in (one, other, control)]
    if any(each is None for each in trees):
        return type(one) is type(other)
    first, second, third = (each or {} for each in trees)
    return first.keys() == second.keys() == third.keys() and all(
        _equal_but_for_defaults(first[key], second[key], third[key]) for key in first
    )
