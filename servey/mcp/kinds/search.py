"""Two tools that stand for many, so that a long list does not fill an agent's context: one searches, one calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from servey.core.errors import ActionError, InvalidParams, NotFound
from servey.mcp.kinds.tools import Tool
from servey.mcp.messages import members_of
from servey.mcp.results import members_of_failure

_MAX_FOUND = 20
_MAX_QUERY = 200
"""In characters: a search compares each word with every tool."""

_MAX_NAMES = 500
SEARCH_TOOLS: dict[str, Any] = {
    "name": "search_tools",
    "description": (
        "Find tools of this server by words in their names, descriptions and parameters. Call one with call_tool. "
        "Without a query, it returns the names and the first lines of the descriptions only."
    ),
    "inputSchema": {
        "type": "object",
        "properties": {
            "query": {
                "type": "string",
                "description": "a few words, or a tool's name",
                "maxLength": _MAX_QUERY,
                "default": "",
            },
            "limit": {
                "type": "integer",
                "description": "how many tools to return with their schemas",
                "minimum": 1,
                "maximum": _MAX_FOUND,
                "default": 5,
            },
        },
    },
    "outputSchema": {
        "type": "object",
        "properties": {
            "tools": {"type": "array", "items": {"type": "object"}},
            "total": {"type": "integer", "description": "how many tools fit the query"},
        },
        "required": ["tools", "total"],
    },
    "annotations": {"readOnlyHint": True},
}

CALL_TOOL: dict[str, Any] = {
    "name": "call_tool",
    "description": "Call a tool that search_tools has found, with arguments that fit its inputSchema.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "the tool's name"},
            "arguments": {"type": "object", "description": "the tool's arguments", "default": {}},
        },
        "required": ["name"],
    },
}

OWN_NAMES = frozenset({str(SEARCH_TOOLS["name"]), str(CALL_TOOL["name"])})


def problem_of_call(name: Any, arguments: Any, *, is_known: bool) -> ActionError | None:
    """Return what is wrong with the arguments of `call_tool`, for the agent, or None."""
    if not isinstance(name, str):
        return InvalidParams([{"loc": ["name"], "msg": "Input should be the name of a tool"}])
    if not is_known:
        return NotFound(f"There is no tool '{name[:100]}'; find it with search_tools")
    if not isinstance(arguments, dict | None):
        return InvalidParams([{"loc": ["arguments"], "msg": "Input should be an object with one member per parameter"}])
    return None


def found_tools(tools: Iterable[Tool], arguments: Mapping[str, Any]) -> bytes:
    """Return the JSON members of a search: the tools that fit best, with what `tools/list` says of each."""
    query, limit = arguments.get("query", ""), arguments.get("limit", 5)
    problems = [{"loc": [name], "msg": text} for name, text in _problems(query, limit)]
    if problems:
        return members_of_failure(InvalidParams(problems), "")
    words = _words(query)
    if not words:
        listed = sorted(tools, key=lambda tool: tool.name)
        shown = [_named(tool) for tool in listed[:_MAX_NAMES]]
        return _members(shown, len(listed))
    fits = [(_fit(tool, query, words), tool) for tool in tools]
    best = sorted((each for each in fits if each[0]), key=lambda each: (-each[0], each[1].name))
    return _members([tool.described for _, tool in best[:limit]], len(best))


def _problems(query: Any, limit: Any) -> Iterable[tuple[str, str]]:
    if not isinstance(query, str):
        yield "query", "Input should be a valid string"
    elif len(query) > _MAX_QUERY:
        yield "query", f"String should have at most {_MAX_QUERY} characters"
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MAX_FOUND:
        yield "limit", f"Input should be an integer from 1 to {_MAX_FOUND}"


def _named(tool: Tool) -> dict[str, Any]:
    description = str(tool.described["description"] or "").partition("\n")[0]
    return {"name": tool.name, "description": description}


def _members(tools: list[dict[str, Any]], total: int) -> bytes:
    found = {"tools": tools, "total": total}
    text = members_of(found).decode()
    return members_of({"content": [{"type": "text", "text": "{" + text + "}"}], "structuredContent": found})


def _fit(tool: Tool, query: str, words: frozenset[str]) -> int:
    """Return how well a tool fits: a word in its name counts most."""
    if query.strip().lower() == tool.name.lower():
        return 1_000_000
    name, about = _words_of(tool)
    return sum(
        8 * (word in name)
        + 3 * any(each.startswith(word) for each in name)
        + any(each.startswith(word) for each in about)
        for word in words
    )


def _words_of(tool: Tool) -> tuple[frozenset[str], frozenset[str]]:
    described = tool.described
    params = " ".join(described["inputSchema"].get("properties", ()))
    return _words(f"{tool.name} {described.get('title', '')}"), _words(f"{described['description']} {params}")


def _words(text: str) -> frozenset[str]:
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    return frozenset(re.findall(r"[^\W_]+", spaced.lower()))
