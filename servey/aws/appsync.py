"""Resolve the fields of an AppSync API: queries, mutations and methods of returned objects; each field calls an action.

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

from servey.calls.batches import hashable, key_of
from servey.calls.invoke import authorize, invoke, perform_batch, validate
from servey.calls.outcomes import Stream
from servey.core.actions import Action
from servey.core.errors import NotFound
from servey.http.errors import known_error
from servey.http.web import bearer_of
from servey.runtime.runtime import Runtime

_ROOTS = ("Query", "Mutation")


class FieldFailed(Exception):
    """A field failed. AppSync returns the text to the client."""


async def answer_field(runtime: Runtime, event: Mapping[str, Any], request_id: str) -> Any:
    """Return the value of one field. Errors: FieldFailed."""
    answer = await _answer(runtime, event, request_id)
    if "errorMessage" in answer:
        raise FieldFailed(f"{answer['errorMessage']} ({answer['errorType']})")
    return answer["data"]


async def answer_fields(runtime: Runtime, events: Sequence[Mapping[str, Any]], request_id: str) -> list[Any]:
    """Return one ``{"data"}`` or ``{"errorMessage", "errorType"}`` for each field of a batch, in order.

    Fields of one action with a batch invoker and of one caller are loaded in one call.
    """
    groups: dict[Any, list[int]] = {}
    for index, event in enumerate(events):
        groups.setdefault(_batch_of(runtime, event) or index, []).append(index)
    answers: list[Any] = [None] * len(events)

    async def fill(indexes: list[int]) -> None:
        group = [events[index] for index in indexes]
        batch = _batch_of(runtime, group[0])
        results = (
            [await _answer(runtime, group[0], request_id)]
            if batch is None
            else await _answer_batch(runtime, batch[0], group, request_id)
        )
        for index, answer in zip(indexes, results, strict=True):
            answers[index] = answer

    await asyncio.gather(*map(fill, groups.values()))
    return answers


async def _answer(runtime: Runtime, event: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    name = _name(event)
    try:
        action = action_of(runtime, event["info"]["parentTypeName"], event["info"]["fieldName"])
        async with runtime.context("graphql", token=_token(event, runtime), request_id=request_id or None) as context:
            result = await invoke(action, _params(action, event), context)
            if isinstance(result, Stream):
                raise NotFound(f"'{name}' is a stream")
            return {"data": shown(result)}
    except Exception as error:
        return _failure(runtime, error, request_id, name)


def _batch_of(runtime: Runtime, event: Mapping[str, Any]) -> tuple[Action, str | None] | None:
    """Return the action of a field and the caller's token, or None if the action has no batch invoker."""
    try:
        action = action_of(runtime, event["info"]["parentTypeName"], event["info"]["fieldName"])
    except NotFound:
        return None
    return None if runtime.plan(action).batch is None else (action, _token(event, runtime))


async def _answer_batch(
    runtime: Runtime, action: Action, events: Sequence[Mapping[str, Any]], request_id: str
) -> list[dict[str, Any]]:
    plan, batch, name = runtime.plan(action), action.batch_invoker, _name(events[0])
    assert batch is not None
    assert plan.batch is not None
    answers: dict[int, dict[str, Any]] = {}
    keys: dict[int, Any] = {}
    # As in GraphQL, equal keys with equal arguments are loaded once.
    sets: dict[Any, tuple[dict[str, Any], dict[Any, list[int]]]] = {}
    try:
        async with runtime.context(
            "graphql", token=_token(events[0], runtime), request_id=request_id or None
        ) as context:
            await authorize(plan, context)
            for place, event in enumerate(events):
                try:
                    values = await validate(plan, _params(action, event), context)
                    keys[place] = key_of(batch, values["self"])
                    arguments = {name: values[name] for name in plan.batch.arguments}
                    places = sets.setdefault(hashable(arguments), (arguments, {}))[1]
                    places.setdefault(hashable(keys[place]), []).append(place)
                except Exception as error:
                    answers[place] = _failure(runtime, error, request_id, name)
            for arguments, places in sets.values():
                groups = list(places.values())
                for begin in range(0, len(groups), batch.max_batch_size):
                    chunk = groups[begin : begin + batch.max_batch_size]
                    results = await perform_batch(plan, [keys[group[0]] for group in chunk], arguments, context)
                    for group, result in zip(chunk, results, strict=True):
                        is_error = isinstance(result, Exception)
                        answer = _failure(runtime, result, request_id, name) if is_error else {"data": shown(result)}
                        answers.update(dict.fromkeys(group, answer))
    except Exception as error:
        failure = _failure(runtime, error, request_id, name)
        return [answers.get(place, failure) for place in range(len(events))]
    return [answers[place] for place in range(len(events))]


def _failure(runtime: Runtime, error: Exception, request_id: str, name: str) -> dict[str, Any]:
    known = known_error(error, runtime, request_id, name, "lambda")
    return {"errorMessage": str(known), "errorType": known.code}


def _name(event: Mapping[str, Any]) -> str:
    return f"{event['info']['parentTypeName']}.{event['info']['fieldName']}"


def action_of(runtime: Runtime, parent: str, field: str) -> Action:
    """Return the action of a field. Errors: NotFound."""
    for action in runtime.catalog:
        owner = None if action.class_name is None else action.class_name.rpartition(".")[2]
        matches = parent in _ROOTS if owner is None else parent == owner
        if matches and camel(action.name.rpartition(".")[2]) == field:
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
    """Convert a GraphQL value to what the action's validator accepts: fields by their Python names, enums by value.

    A value that does not match its type is returned unchanged, and the validator reports it.
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
    """Return the fields of an object type by name; an empty dict for any other type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    cls = get_origin(annotation) or annotation
    if not (is_dataclass(cls) or is_typeddict(cls)):
        return {}
    return get_type_hints(cls, include_extras=True)


def shown(value: Any) -> Any:
    """Convert a result to its GraphQL form: fields in camel case, enums by name."""
    if isinstance(value, BaseModel):
        members = type(value).model_fields.items()
        # Methods receive the whole object back as `source`. AppSync drops what is not in its schema.
        whole = _has_methods(type(value))
        return {camel(name): shown(getattr(value, name)) for name, info in members if whole or info.exclude is not True}
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(field.name): shown(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(item) for item in value]
    return to_jsonable_python(value)


@cache
def _has_methods(cls: type[BaseModel]) -> bool:
    """Whether some methods of a class are actions."""
    return any(hasattr(member, "servey_action") for each in cls.__mro__ for member in vars(each).values())


def camel(name: str) -> str:
    """Convert ``say_hello`` to ``sayHello``."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _token(event: Mapping[str, Any], runtime: Runtime) -> str | None:
    request = event.get("request")
    headers = request.get("headers") if isinstance(request, Mapping) else None
    items = headers.items() if isinstance(headers, Mapping) else ()
    given = next((str(value) for name, value in items if str(name).lower() == "authorization"), "")
    return bearer_of(given, runtime.settings.token_schemes)
