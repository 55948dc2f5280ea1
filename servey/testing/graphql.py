"""Run an example through GraphQL: an operation that selects every field of the expected result."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import from_json, to_json, to_jsonable_python

from servey.app import Servey
from servey.core.access import Authorization
from servey.core.actions import Example
from servey.graphql.schema.operations import enum_name, input_of, type_name
from servey.graphql.schema.scalars import WRITERS
from servey.graphql.schema.shapes import EnumOf, Field, ListOf, Member, ObjectOf, Place, UnionOf
from servey.graphql.schema.unions import member_of
from servey.testing.client import client
from servey.testing.outcomes import Outcome, caller_of, plain_params

_TYPENAME = "__typename"


def run_field(app: Servey, kind: str, field: Field, example: Example, authorization: Authorization | None) -> Outcome:
    """Run the example as a query, mutation or subscription with one field."""
    given = plain_params(example)
    members = [member for member in field.arguments.values() if member.key in given]
    variables = {member.name: input_of(member.place, given[member.key]) for member in members}
    declared = ", ".join(f"${member.name}: {type_name(member.place)}" for member in members)
    arguments = ", ".join(f"{member.name}: ${member.name}" for member in members)
    selection = _selection(field.place, _results(field, example))
    call = f"{field.name}({arguments}){selection}" if members else f"{field.name}{selection}"
    text = f"{kind}({declared}) {{ {call} }}" if members else f"{kind} {{ {call} }}"
    streams = kind == "subscription"
    headers = {"Accept": "text/event-stream"} if streams else {}
    with client(app, authorization=caller_of(app, field.action, authorization)) as http:
        path = app.runtime.settings.graphql_path
        answer = http.post(path, json={"query": text, "variables": variables}, headers=headers)
    if not streams:
        return _outcome(field, [from_json(answer.content)])
    found = re.findall(r"^event: next\r?\ndata: (.*)$", answer.text, re.MULTILINE)
    return _outcome(field, [from_json(each) for each in found], streams=True)


def expected_data(field: Field, example: Example) -> Any:
    """Return the example's result as GraphQL returns it."""
    found = [_output(field.place, result) for result in _results(field, example)]
    return found if field.action.signature.streams else found[0]


def _outcome(field: Field, answers: Sequence[Any], *, streams: bool = False) -> Outcome:
    for answer in answers:
        for error in answer.get("errors") or ():
            code = error.get("extensions", {}).get("code")
            # The document is generated, so only the parameters can be invalid.
            return Outcome(error="invalid_params" if code == "invalid_document" else code, detail=error["message"])
    values = [answer["data"][field.name] for answer in answers]
    return Outcome(values if streams else values[0])


def _results(field: Field, example: Example) -> list[Any]:
    """Return the expected result, or for a stream its items, as Python objects; nothing for an expected error."""
    validator = field.action.result
    if example.error is not None or validator is None:
        return []
    if field.action.signature.streams:
        return [validator.validate_python(item) for item in example.result or ()]
    return [validator.validate_python(example.result, from_attributes=True)]


def _selection(place: Place, values: Sequence[Any]) -> str:
    """Return the selection set for a place that holds these values; an empty string for a scalar."""
    shape = place.shape
    found = [value for value in values if value is not None]
    if isinstance(shape, ListOf):
        return _selection(shape.item, [item for value in found for item in value])
    if isinstance(shape, UnionOf):
        chosen = [(member_of(shape, value), value) for value in found]
        parts = []
        for choice in shape.choices:
            mine = [value for member, value in chosen if member is choice]
            if mine:
                parts.append(f"... on {choice.name}{_object_selection(choice, mine)}")
        return f" {{ {' '.join([_TYPENAME, *parts])} }}"
    return _object_selection(shape, found) if isinstance(shape, ObjectOf) else ""


def _object_selection(shape: ObjectOf, values: Sequence[Any]) -> str:
    lines = []
    for member in shape.members.values() if values else ():
        inner = _selection(member.place, [_read(shape, member, value) for value in values])
        lines.append(member.name + inner)
    return f" {{ {' '.join(lines or [_TYPENAME])} }}"


def _output(place: Place, value: Any) -> Any:
    """Convert a result to the JSON of GraphQL."""
    shape = place.shape
    if value is None:
        return None
    if isinstance(shape, ListOf):
        return [_output(shape.item, item) for item in value]
    if isinstance(shape, EnumOf):
        return enum_name(shape, value)
    if isinstance(shape, UnionOf):
        choice = member_of(shape, value)
        return value if choice is None else {_TYPENAME: choice.name, **_output(Place(choice), value)}
    if isinstance(shape, ObjectOf):
        return {
            member.name: _output(member.place, _read(shape, member, value)) for member in shape.members.values()
        } or {_TYPENAME: shape.name}
    dump: Callable[[Any], Any] = place.dump or WRITERS.get(shape.scalar, to_jsonable_python)
    return from_json(to_json(dump(value)))


def _read(shape: ObjectOf, member: Member, value: Any) -> Any:
    if member.read is not None:
        return member.read(value)
    return value.get(member.key) if shape.keyed else getattr(value, member.key)
