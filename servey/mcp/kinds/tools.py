"""Tools: their names, schemas and annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import to_json, to_jsonable_python

from servey.calls.invoke import Plan
from servey.compat.json_schema import json_schema_of, structure_of
from servey.core.actions import Action
from servey.core.triggers import McpTrigger, WebTrigger, WebTriggerMethod
from servey.http.encode import Encode, encoder_of
from servey.mcp.fits import has_numbers, misfit

RESULT = "result"
"""The key of a result that is not an object: structured content is always one."""

_READS = {WebTriggerMethod.GET, WebTriggerMethod.HEAD, WebTriggerMethod.OPTIONS}


@dataclass(frozen=True, eq=False)
class Tool:
    """An action as a tool. What is computed from its types is computed on first use."""

    name: str
    plan: Plan
    trigger: McpTrigger

    @property
    def action(self) -> Action:
        """The action that a call runs."""
        return self.plan.action

    @cached_property
    def described(self) -> dict[str, Any]:
        """The tool as `tools/list` shows it."""
        title = self.trigger.title
        made: dict[str, Any] = {"name": self.name, "title": title} if title else {"name": self.name}
        made["description"] = self.action.description or self.action.summary
        made["inputSchema"] = input_schema(self.action)
        if self.output_schema is not None:
            made["outputSchema"] = self.output_schema
        annotations = annotations_of(self.action, self.trigger)
        return made | ({"annotations": annotations} if annotations else {})

    @cached_property
    def output_schema(self) -> dict[str, Any] | None:
        """The JSON schema of the structured content, or None if the action returns a ``Response``."""
        result = self._result_schema
        if result is None or not self.wraps:
            return result
        defs = {"$defs": result.pop("$defs")} if "$defs" in (result := dict(result)) else {}
        return {"type": "object", "properties": {RESULT: result}, "required": [RESULT], **defs}

    @cached_property
    def wraps(self) -> bool:
        """Whether the result is the member ``result`` of the structured content, because it may not be an object."""
        return self._result_schema is not None and self._result_schema.get("type") != "object"

    @cached_property
    def has_numbers(self) -> bool:
        """Whether a result may have numbers that JSON cannot represent."""
        return has_numbers(self._result_schema)

    def misfit(self, result: Any) -> str | None:
        """Return where and how the JSON of a result does not fit its schema, or None if it fits."""
        schema = self._result_schema or {}
        return misfit(schema, result, schema.get("$defs", {}))

    @cached_property
    def _result_schema(self) -> dict[str, Any] | None:
        return result_schema(self.action)

    @cached_property
    def encode(self) -> Encode | None:
        """Encodes a result faster than its serializer, or None."""
        return None if self.action.result is None else encoder_of(self.action.result)


def result_schema(action: Action) -> dict[str, Any] | None:
    """Return the JSON schema of an action's result, for a stream of a list, or None if it returns a ``Response``."""
    adapter = action.result
    if adapter is None:
        return None
    try:
        schema = _pruned(json_schema_of(adapter, "serialization"))
    except PydanticInvalidForJsonSchema:
        schema = {}
    if not action.signature.streams:
        return schema
    defs = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
    return {"type": "array", "items": schema, **defs}


def input_schema(action: Action) -> dict[str, Any]:
    """Return the JSON schema of a tool's arguments, with the action's examples."""
    try:
        schema = _pruned(action.params_schema)
    except PydanticInvalidForJsonSchema:
        schema = _pruned(structure_of(action.params))
    schema.pop("title", None)
    examples = [to_jsonable_python(each.params, fallback=str) for each in action.examples if _is_shown(each)]
    return {"type": "object", "properties": {}} | schema | ({"examples": examples} if examples else {})


def json_types_of(action: Action) -> dict[str, set[str]]:
    """Return the JSON types that each argument may have."""
    schema = input_schema(action)
    defs = schema.get("$defs", {})

    def types_of(each: Mapping[str, Any]) -> set[str]:
        if "$ref" in each:
            return types_of(defs.get(each["$ref"].rpartition("/")[2], {}))
        parts = [part for key in ("anyOf", "oneOf") for part in each.get(key, ())]
        return set().union(*map(types_of, parts)) if parts else {str(each.get("type"))}

    return {name: types_of(each) for name, each in schema["properties"].items()}


def _pruned(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without the definitions that nothing refers to: each costs an agent part of its context."""
    made = dict(schema)
    defs = made.pop("$defs", {})
    needed: dict[str, Any] = {}
    waiting = [made]
    while waiting:
        names = set(re.findall(r'"#/\$defs/([^"]+)"', to_json(waiting.pop(), fallback=str).decode()))
        found = {name: defs[name] for name in names - needed.keys() if name in defs}
        needed |= found
        waiting += found.values()
    return made | ({"$defs": {name: each for name, each in defs.items() if name in needed}} if needed else {})


def _is_shown(example: Any) -> bool:
    return example.include_in_schema and example.error is None and isinstance(example.params, Mapping)


def annotations_of(action: Action, trigger: McpTrigger) -> dict[str, bool]:
    """Return what the trigger says of a tool's effects, or else what the methods of the action's routes mean.

    Source: RFC 9110 section 9.2 (safe and idempotent methods).
    """
    methods = {each.method for each in action.triggers if isinstance(each, WebTrigger)}
    read_only = trigger.read_only
    if read_only is None and methods:
        read_only = methods <= _READS
    idempotent, destructive = trigger.idempotent, trigger.destructive
    if not read_only and methods:
        if idempotent is None and methods <= _READS | {WebTriggerMethod.PUT, WebTriggerMethod.DELETE}:
            idempotent = True
        if destructive is None and WebTriggerMethod.DELETE in methods:
            destructive = True
    hints = {"readOnlyHint": read_only, "idempotentHint": idempotent, "destructiveHint": destructive}
    return {name: hint for name, hint in hints.items() if hint is not None}


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)


def offered_name(action: Action, trigger: McpTrigger) -> str | None:
    """Return the name of what a trigger offers, or None if it is not valid. Source: MCP 2025-11-25, "Tool Names".

    A name that is derived from a method, ``Order.total``, has no dot: some models do not accept it.
    """
    name = action.name.replace(".", "_") if trigger.name is None else trigger.name
    return name if _NAME.fullmatch(name) else None
