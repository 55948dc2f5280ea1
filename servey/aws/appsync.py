"""Resolve the fields of an AppSync API: queries, mutations and methods of returned objects; each field calls an action.

Source: AppSync developer guide, "Direct Lambda resolvers": a single event, or a list of them for a field with a batch size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from servey.calls.batches import hashable, key_of
from servey.calls.invoke import authorize, invoke, perform_batch, validate
from servey.calls.outcomes import Stream
from servey.core.actions import Action
from servey.core.errors import NotFound
from servey.http.errors import known_error
from servey.http.tokens import token_in
from servey.runtime.runtime import Runtime


class PlainField(Protocol):
    """A field of the GraphQL schema: its action, and its arguments and results as JSON."""

    @property
    def action(self) -> Action: ...
    def params(self, arguments: Mapping[str, Any], source: Any) -> dict[str, Any]: ...
    def shown(self, result: Any) -> Any: ...


FieldFinder: TypeAlias = Callable[[str, str], PlainField | None]
"""Finds a field by the names of its type and of itself."""


class FieldFailed(Exception):
    """A field failed. AppSync returns the text to the client."""


async def answer_field(runtime: Runtime, find: FieldFinder, event: Mapping[str, Any], request_id: str) -> Any:
    """Return the value of one field. Errors: FieldFailed."""
    answer = await _answer(runtime, find, event, request_id)
    if "errorMessage" in answer:
        raise FieldFailed(f"{answer['errorMessage']} ({answer['errorType']})")
    return answer["data"]


async def answer_fields(
    runtime: Runtime, find: FieldFinder, events: Sequence[Mapping[str, Any]], request_id: str
) -> list[Any]:
    """Return one ``{"data"}`` or ``{"errorMessage", "errorType"}`` for each field of a batch, in order.

    Fields of one action with a batch invoker and of one caller are loaded in one call.
    """
    groups: dict[Any, list[int]] = {}
    for index, event in enumerate(events):
        groups.setdefault(_batch_of(runtime, find, event) or index, []).append(index)
    answers: list[Any] = [None] * len(events)

    async def fill(indexes: list[int]) -> None:
        group = [events[index] for index in indexes]
        batch = _batch_of(runtime, find, group[0])
        results = (
            [await _answer(runtime, find, group[0], request_id)]
            if batch is None
            else await _answer_batch(runtime, batch[0], group, request_id)
        )
        for index, answer in zip(indexes, results, strict=True):
            answers[index] = answer

    await asyncio.gather(*map(fill, groups.values()))
    return answers


async def _answer(runtime: Runtime, find: FieldFinder, event: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    name = _name(event)
    try:
        field = _field_of(find, event)
        async with runtime.context("graphql", token=_token(event, runtime), request_id=request_id or None) as context:
            result = await invoke(field.action, _params(field, event), context)
            if isinstance(result, Stream):
                raise NotFound(f"'{name}' is a stream")
            return {"data": field.shown(result)}
    except Exception as error:
        return _failure(runtime, error, request_id, name)


def _batch_of(runtime: Runtime, find: FieldFinder, event: Mapping[str, Any]) -> tuple[PlainField, str | None] | None:
    """Return a field and the caller's token, or None if the field's action has no batch invoker."""
    try:
        field = _field_of(find, event)
    except NotFound:
        return None
    return None if runtime.plan(field.action).batch is None else (field, _token(event, runtime))


def _field_of(find: FieldFinder, event: Mapping[str, Any]) -> PlainField:
    parent, name = event["info"]["parentTypeName"], event["info"]["fieldName"]
    found = find(parent, name)
    if found is None:
        raise NotFound(f"No action answers the field '{parent}.{name}'")
    return found


def _params(field: PlainField, event: Mapping[str, Any]) -> dict[str, Any]:
    return field.params(event.get("arguments") or {}, event.get("source"))


async def _answer_batch(
    runtime: Runtime, field: PlainField, events: Sequence[Mapping[str, Any]], request_id: str
) -> list[dict[str, Any]]:
    plan, batch, name = runtime.plan(field.action), field.action.batch_invoker, _name(events[0])
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
                    values = await validate(plan, _params(field, event), context)
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
                        answers.update(dict.fromkeys(group, _answered(runtime, field, result, request_id, name)))
    except Exception as error:
        failure = _failure(runtime, error, request_id, name)
        return [answers.get(place, failure) for place in range(len(events))]
    return [answers[place] for place in range(len(events))]


def _answered(runtime: Runtime, field: PlainField, result: Any, request_id: str, name: str) -> dict[str, Any]:
    """Return the answer for one result of a batch, which may be an exception."""
    if isinstance(result, Exception):
        return _failure(runtime, result, request_id, name)
    try:
        return {"data": field.shown(result)}
    except Exception as error:
        return _failure(runtime, error, request_id, name)


def _failure(runtime: Runtime, error: Exception, request_id: str, name: str) -> dict[str, Any]:
    known = known_error(error, runtime, request_id, name, "lambda")
    return {"errorMessage": str(known), "errorType": known.code}


def _name(event: Mapping[str, Any]) -> str:
    return f"{event['info']['parentTypeName']}.{event['info']['fieldName']}"


def _token(event: Mapping[str, Any], runtime: Runtime) -> str | None:
    request = event.get("request")
    headers = request.get("headers") if isinstance(request, Mapping) else None
    items = headers.items() if isinstance(headers, Mapping) else ()
    raw = [
        (str(name).lower().encode("latin-1", "replace"), str(value).encode("latin-1", "replace"))
        for name, value in items
    ]
    return token_in(raw, {"method": "POST", "headers": raw}, runtime)
