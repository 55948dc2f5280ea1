"""Fields of an AppSync API, each the call of an action: of the query, of the mutation, of an object that was answered.

Source: AppSync developer guide, "Direct Lambda resolvers": a single event, or a list of them for a field with a batch size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from servey.actions import Action
from servey.errors import NotFound
from servey.invoke import Stream, invoke
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
    """One ``{"data"}`` or ``{"errorMessage", "errorType"}`` for each field of a batch, in their order."""
    return list(await asyncio.gather(*(_answer(runtime, event, request_id) for event in events)))


async def _answer(runtime: Runtime, event: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    info = event["info"]
    name = f"{info['parentTypeName']}.{info['fieldName']}"
    try:
        action = action_of(runtime, info["parentTypeName"], info["fieldName"])
        headers = (event.get("request") or {}).get("headers") or {}
        async with runtime.context("graphql", token=_token(headers), request_id=request_id or None) as context:
            result = await invoke(action, _params(action, event), context)
            if isinstance(result, Stream):
                raise NotFound(f"'{name}' is a stream")
            return {"data": shown(result)}
    except Exception as error:
        known = known_error(error, request_id, name)
        return {"errorMessage": str(known), "errorType": known.code}


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
    known: dict[str, str] = {camel(param.alias): param.alias for param in action.signature.client}
    return {known.get(name) or name: _written_back(value) for name, value in given.items()}


def _written_back(value: Any) -> Any:
    """Names of an object's fields as Python has them."""
    if isinstance(value, Mapping):
        return {**value, **{_snake(name): _written_back(item) for name, item in value.items()}}
    return [_written_back(item) for item in value] if isinstance(value, list) else value


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


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def _token(headers: Mapping[str, Any]) -> str | None:
    given = next((str(value) for name, value in headers.items() if name.lower() == "authorization"), "")
    scheme, _, token = given.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
