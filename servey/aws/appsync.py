"""Fields of an AppSync API, each the call of an action: of the query, of the mutation, of an object that was answered.

Source: AppSync developer guide, "Direct Lambda resolvers": a single event, or a list of them for a field with a batch size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from servey.actions import Action
from servey.errors import NotFound
from servey.invoke import Stream, admit, invoke, perform_batch, validate
from servey.runtime import Runtime
from servey.web import known_error

_ROOTS = ("Query", "Mutation")


class FieldFailed(Exception):
    """A field that has no value: AppSync shows its text, with the error's code."""


async def answer_field(runtime: Runtime, event: Mapping[str, Any], request_id: str) -> Any:
    """The value of one field. Errors: FieldFailed."""
    answer = await _answer(runtime, event, request_id)
    if "errorMessage" in answer:
        raise FieldFailed(f"{answer['errorMessage']} ({answer['errorType']})")
    return answer["data"]


async def answer_fields(runtime: Runtime, events: Sequence[Mapping[str, Any]], request_id: str) -> list[Any]:
    """One ``{"data"}`` or ``{"errorMessage", "errorType"}`` for each field of a batch, in their order.

    What one caller asks of an action with a batch invoker is asked for in one go.
    """
    together: dict[Any, list[int]] = {}
    for place, event in enumerate(events):
        together.setdefault(_batch_of(runtime, event) or place, []).append(place)
    answers: list[Any] = [None] * len(events)

    async def fill(places: list[int]) -> None:
        asked = [events[place] for place in places]
        batch = _batch_of(runtime, asked[0])
        found = (
            [await _answer(runtime, asked[0], request_id)]
            if batch is None
            else await _answer_batch(runtime, batch[0], asked, request_id)
        )
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer

    await asyncio.gather(*map(fill, together.values()))
    return answers


async def _answer(runtime: Runtime, event: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    name = _name(event)
    try:
        action = action_of(runtime, event["info"]["parentTypeName"], event["info"]["fieldName"])
        async with runtime.context("graphql", token=_token(event), request_id=request_id or None) as context:
            result = await invoke(action, _params(action, event), context)
            if isinstance(result, Stream):
                raise NotFound(f"'{name}' is a stream")
            return {"data": shown(result)}
    except Exception as error:
        return _failure(error, request_id, name)


def _batch_of(runtime: Runtime, event: Mapping[str, Any]) -> tuple[Action, str | None] | None:
    """The action of a field and who asks, where its parents are asked for together."""
    try:
        action = action_of(runtime, event["info"]["parentTypeName"], event["info"]["fieldName"])
    except NotFound:
        return None
    return None if action.batch_invoker is None else (action, _token(event))


async def _answer_batch(
    runtime: Runtime, action: Action, events: Sequence[Mapping[str, Any]], request_id: str
) -> list[dict[str, Any]]:
    plan, batch, name = runtime.plan(action), action.batch_invoker, _name(events[0])
    assert batch is not None
    answers: dict[int, dict[str, Any]] = {}
    keys: dict[int, Any] = {}
    try:
        async with runtime.context("graphql", token=_token(events[0]), request_id=request_id or None) as context:
            await admit(plan, context)
            for place, event in enumerate(events):
                try:
                    parent = (await validate(plan, _params(action, event), context))["self"]
                    keys[place] = parent if batch.arg_extractor is None else _key_of(batch.arg_extractor(parent))
                except Exception as error:
                    answers[place] = _failure(error, request_id, name)
            places = list(keys)
            for begin in range(0, len(places), batch.max_batch_size):
                chunk = places[begin : begin + batch.max_batch_size]
                results = await perform_batch(plan, [keys[place] for place in chunk], context)
                for place, result in zip(chunk, results, strict=True):
                    is_error = isinstance(result, Exception)
                    answers[place] = _failure(result, request_id, name) if is_error else {"data": shown(result)}
    except Exception as error:
        failure = _failure(error, request_id, name)
        return [answers.get(place, failure) for place in range(len(events))]
    return [answers[place] for place in range(len(events))]


def _key_of(extracted: list[Any]) -> Any:
    return extracted[0] if len(extracted) == 1 else tuple(extracted)


def _failure(error: Exception, request_id: str, name: str) -> dict[str, Any]:
    known = known_error(error, request_id, name)
    return {"errorMessage": str(known), "errorType": known.code}


def _name(event: Mapping[str, Any]) -> str:
    return f"{event['info']['parentTypeName']}.{event['info']['fieldName']}"


def action_of(runtime: Runtime, parent: str, field: str) -> Action:
    """The action of a field. Errors: NotFound."""
    for action in runtime.catalog:
        owner = None if action.class_name is None else action.class_name.rpartition(".")[2]
        is_there = parent in _ROOTS if owner is None else parent == owner
        if is_there and camel(action.name.rpartition(".")[2]) == field:
            return action
    raise NotFound(f"No action answers the field '{parent}.{field}'")


def _params(action: Action, event: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(event.get("arguments") or {})
    if action.class_name is not None:
        given["self"] = event.get("source")
    known = {camel(param.alias): param for param in action.signature.client}
    found = {}
    for name, value in given.items():
        param = known.get(name)
        found[name if param is None else param.alias] = value if param is None else read(param.annotation, value)
    return found


def read(annotation: Any, value: Any) -> Any:
    """A value of the schema as the action's own validator takes it: an object's fields by their Python names, an enum by
    its value. What does not look like its type is left to the validator.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return read(arguments[0], value)
    if origin in (Union, UnionType):
        choices = [each for each in arguments if each is not NoneType]
        return read(choices[0], value) if len(choices) == 1 and value is not None else value
    if isinstance(value, list):
        return [read(arguments[0], item) for item in value] if arguments and origin is not Literal else value
    if isinstance(annotation, type) and issubclass(annotation, Enum) and isinstance(value, str):
        return annotation[value].value if value in annotation.__members__ else value
    hints = _hints(annotation) if isinstance(value, Mapping) else {}
    if not hints:
        return value
    return {name: read(hint, value[camel(name)]) for name, hint in hints.items() if camel(name) in value}


@cache
def _hints(annotation: Any) -> dict[str, Any]:
    """The fields of a class of objects by name; nothing for any other type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    cls = get_origin(annotation) or annotation
    if not (is_dataclass(cls) or is_typeddict(cls)):
        return {}
    return get_type_hints(cls, include_extras=True)


def shown(value: Any) -> Any:
    """A result as the schema names it: an object's fields in camel case, an enum by its name."""
    if isinstance(value, BaseModel):
        return {camel(name): shown(getattr(value, name)) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(field.name): shown(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(item) for item in value]
    return to_jsonable_python(value)


def camel(name: str) -> str:
    """``say_hello`` as ``sayHello``."""
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def _token(event: Mapping[str, Any]) -> str | None:
    headers = (event.get("request") or {}).get("headers") or {}
    given = next((str(value) for name, value in headers.items() if name.lower() == "authorization"), "")
    scheme, _, token = given.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
