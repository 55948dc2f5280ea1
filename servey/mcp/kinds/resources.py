"""Resources: actions that agents read by address, with templates for those with parameters.

Source: MCP 2025-11-25, "Resources"; RFC 6570, level 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

from servey.calls.invoke import Plan
from servey.core.actions import Action
from servey.core.actions.naming import kebab_case
from servey.core.triggers import McpTrigger
from servey.mcp.kinds.tools import json_types_of, result_schema

_VARIABLE = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True, eq=False)
class Resource:
    """An action as a resource, or as a template if its address has parameters."""

    name: str
    uri: str
    plan: Plan
    trigger: McpTrigger

    @property
    def action(self) -> Action:
        """The action that reading runs."""
        return self.plan.action

    @property
    def is_template(self) -> bool:
        """Whether the address has parameters."""
        return bool(_VARIABLE.search(self.uri))

    @cached_property
    def described(self) -> dict[str, Any]:
        """The resource as lists show it."""
        made: dict[str, Any] = {"uriTemplate" if self.is_template else "uri": self.uri, "name": self.name}
        made |= {"title": self.trigger.title} if self.trigger.title else {}
        made["description"] = self.action.description or self.action.summary
        return made | ({"mimeType": self.media_type} if self.media_type else {})

    @cached_property
    def media_type(self) -> str | None:
        """The media type of what is read, or None if the action returns a ``Response``."""
        schema = result_schema(self.action)
        if schema is None:
            return None
        return "text/plain" if schema.get("type") == "string" else "application/json"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = _VARIABLE.split(self.uri)
        return re.compile("".join(f"(?P<{each}>[^/?#]+)" if n % 2 else re.escape(each) for n, each in enumerate(parts)))

    @cached_property
    def _lists(self) -> frozenset[str]:
        types = json_types_of(self.action)
        return frozenset(name for name, each in types.items() if "array" in each and "string" not in each)

    def params_of(self, uri: str) -> dict[str, str | list[str]] | None:
        """Return the parameters in an address, or None if it is not this resource's. Commas separate the items of a list."""
        match = self._pattern.fullmatch(uri)
        return None if match is None else {name: self._value(name, text) for name, text in match.groupdict().items()}

    def _value(self, name: str, text: str) -> str | list[str]:
        return [unquote(each) for each in text.split(",")] if name in self._lists else unquote(text)


def address_of(action: Action, trigger: McpTrigger) -> str:
    """Return the address of an action as a resource."""
    if trigger.uri is not None:
        return trigger.uri
    required = [f"{{{param.alias}}}" for param in action.signature.client if param.required]
    return "/".join([f"actions:///{quote(kebab_case(action.name))}", *required])


def address_problem(action: Action, uri: str) -> str | None:
    """Return what is wrong with the address of an action, or None."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri) or re.search(r"[{}\s]", _VARIABLE.sub("", uri)):
        return f"the MCP address {uri!r} must be a URI with parameters in braces, e.g. 'shop://orders/{{order_id}}'"
    named = _VARIABLE.findall(uri)
    params = {param.alias: param for param in action.signature.client}
    twice = [name for name in named if named.count(name) > 1]
    if twice:
        return f"the MCP address {uri!r} names '{twice[0]}' twice"
    unknown = [name for name in named if name not in params]
    missing = [name for name, param in params.items() if param.required and name not in named]
    if unknown:
        return f"the MCP address {uri!r} names '{unknown[0]}', which is not a parameter"
    return f"the MCP address {uri!r} must name the required parameter '{missing[0]}'" if missing else None
