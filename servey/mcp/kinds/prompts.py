"""Prompts: actions that return messages for a model, which people choose by name. Completion of arguments.

Source: MCP 2025-11-25, "Prompts" and "Completion".
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic_core import from_json, to_json

from servey.calls.invoke import Plan
from servey.core.actions import Action
from servey.core.triggers import McpTrigger
from servey.mcp.kinds.tools import input_schema, json_types_of

MAX_VALUES = 100
"""How many values one completion has at most. Source: MCP 2025-11-25, "Completion"."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """An action as a prompt."""

    name: str
    plan: Plan
    trigger: McpTrigger

    @property
    def action(self) -> Action:
        """The action that returns the messages."""
        return self.plan.action

    @cached_property
    def described(self) -> dict[str, Any]:
        """The prompt as `prompts/list` shows it."""
        made: dict[str, Any] = {"name": self.name}
        made |= {"title": self.trigger.title} if self.trigger.title else {}
        made["description"] = self.action.description or self.action.summary
        schema = input_schema(self.action)
        required = schema.get("required", ())
        arguments = []
        for name, each in schema["properties"].items():
            about = {"description": each["description"]} if "description" in each else {}
            if name in self._structured:
                about["description"] = " ".join([*about.values(), "As JSON."])
            arguments.append({"name": name, **about, "required": name in required})
        return made | ({"arguments": arguments} if arguments else {})

    @cached_property
    def _structured(self) -> frozenset[str]:
        """The arguments that are lists or objects: clients send texts only, so theirs are JSON."""
        # A text that may be either is taken as the text that it is.
        kinds = json_types_of(self.action)
        return frozenset(name for name, each in kinds.items() if each & {"array", "object"} and "string" not in each)

    def params_of(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters in a client's arguments. What is not JSON is left as it is, for validation to refuse."""
        made = dict(arguments)
        for name in self._structured & made.keys():
            with suppress(ValueError, TypeError):
                made[name] = from_json(made[name])
        return made


def messages_of(result: Any) -> list[dict[str, Any]]:
    """Return a JSON result as messages: each item of a list is one.

    A text, or any other value, is a message of the user; an object with ``role`` and ``content`` is a message as it is.
    """
    return [_message(each) for each in (result if isinstance(result, list) else [result])]


def _message(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping) and value.get("role") in ("user", "assistant") and "content" in value:
        content = value["content"]
        return {"role": value["role"], "content": _text(content) if isinstance(content, str) else content}
    if isinstance(value, str):
        return {"role": "user", "content": _text(value)}
    return {"role": "user", "content": _text(to_json(value).decode())}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def completion_of(action: Action, argument: str, begun: str) -> dict[str, Any]:
    """Return the values of an enum, a Literal or a bool that begin with a text."""
    schema = input_schema(action)
    values = _values(schema["properties"].get(argument, {}), schema.get("$defs", {}))
    fitting = [value for value in dict.fromkeys(values) if value.lower().startswith(begun.lower())]
    return {"values": fitting[:MAX_VALUES], "total": len(fitting), "hasMore": len(fitting) > MAX_VALUES}


def _values(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> list[str]:
    if "$ref" in schema:
        return _values(defs.get(schema["$ref"].rpartition("/")[2], {}), {})
    if "anyOf" in schema:
        return [value for each in schema["anyOf"] for value in _values(each, defs)]
    if schema.get("type") == "boolean":
        return ["true", "false"]
    found = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return [str(value) for value in found if value is not None]
