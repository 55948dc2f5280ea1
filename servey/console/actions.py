"""What the console shows of actions: a list with filters, and one action with everything that calls it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import PydanticUserError
from pydantic_core import to_jsonable_python

from servey.compat.json_schema import json_schema_of
from servey.core.actions import Action
from servey.exposure import Exposure
from servey.graphql.schema.fields import Fields
from servey.graphql.schema.operations import operation_of, variables_of
from servey.routers.rest.action_route import ActionRoute
from servey.routers.rest.examples import filled_path, flat
from servey.routers.rest.fallback import why_generic

METHODS = ("GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH")
TRANSPORTS = ("REST", "GraphQL", "MCP", "page", "schedule", "channel")
_TOOL = "MCP tool "


@dataclass(frozen=True)
class Route:
    """A REST route of an action.

    Shape: ``generic`` is why it has no compiled form, or None; ``anchor`` is its place in Swagger UI; ``url`` is where a
    browser can open it, or None.
    """

    method: str
    path: str
    generic: str | None
    anchor: str
    takes_body: bool
    url: str | None


@dataclass(frozen=True)
class Input:
    """A parameter: ``type`` as text, ``value`` as JSON or text for a form, ``control`` one of text, number, check, json."""

    name: str
    type: str
    required: bool
    description: str
    default: str
    control: str
    value: str


@dataclass(frozen=True)
class Call:
    """A GraphQL operation that calls an action.

    Shape: ``text`` with the parameters of an example, ``variables`` as JSON; ``parts`` is the operation as JSON.
    """

    kind: str
    text: str
    variables: str
    parts: str

    @property
    def query(self) -> str:
        """The query string that shows it in GraphiQL."""
        return urlencode({"query": self.text, "variables": self.variables})


@dataclass(frozen=True)
class Details:
    """Everything that the console shows of one action.

    Shape: ``tool`` is its name as a tool of agents, if it is one; ``code`` is text to copy by its label.
    """

    signature: str
    inputs: list[Input]
    result: str
    examples: list[Mapping[str, Any]]
    routes: list[Route]
    operations: list[Call]
    tool: str | None
    code: dict[str, str] = field(default_factory=dict)


def transport_of(place: str) -> str:
    """Return the transport of a place that `Exposure` names."""
    kind = place.partition(" ")[0]
    return "REST" if kind in METHODS else "schedule" if kind in ("every", "cron") else kind


def groups_of(action: Action) -> tuple[str, ...]:
    """Return what an action has in common with others: the prefix of its group, and its tags."""
    return (*((action.prefix,) if action.prefix else ()), *action.tags)


def matching(
    exposures: Iterable[Exposure], query: Mapping[str, str], groups: Mapping[str, tuple[str, ...]]
) -> list[Exposure]:
    """Return the actions that fit the filters ``q``, ``transport``, ``access`` and ``group`` of a query string."""
    text, transport, access = query.get("q", "").lower(), query.get("transport", ""), query.get("access", "")
    group = query.get("group", "")

    def fits(each: Exposure) -> bool:
        if text and text not in f"{each.name} {each.summary} {' '.join(each.places)}".lower():
            return False
        if transport and transport not in map(transport_of, each.places):
            return False
        if group and group not in groups[each.name]:
            return False
        return not access or (each.access == "ALLOW_ALL") == (access == "everyone")

    return [each for each in exposures if fits(each)]


def details_of(
    action: Action, exposure: Exposure, routes: Iterable[Any], fields: Fields | None, base: str, mcp: str
) -> Details:
    """Return what the console shows of an action; ``base`` is the URL of the app, ``mcp`` that of its MCP endpoint."""
    params = example_params(action)
    found = [_route(route, params or {}) for route in routes if _serves(route, action)]
    operations, inputs = _operations(action, fields, params or {}), _inputs(action, params or {})
    return Details(
        signature=_signature(action, inputs),
        inputs=inputs,
        result=_pretty(_schema(action.result, "serialization")) if action.result is not None else "",
        examples=[
            {
                "name": each.name,
                "description": each.description,
                "params": _pretty(each.params),
                "result": _pretty(each.result) if each.error is None else f"error: {each.error}",
            }
            for each in action.examples
            if each.include_in_schema
        ],
        routes=found,
        operations=operations,
        tool=_tool_of(exposure),
        code=_code(action, found, operations, params or {}, base) | _tool_code(exposure, params or {}, mcp),
    )


def example_params(action: Action) -> dict[str, Any] | None:
    """Return parameters to try an action, as JSON: those of an example, or {} if none are required, else None."""
    example = next((each for each in action.examples if each.error is None and each.include_in_schema), None)
    if example is not None:
        plain: dict[str, Any] = to_jsonable_python(dict(example.params), fallback=str)
        return plain
    return None if any(param.required for param in action.signature.client) else {}


def _serves(route: Any, action: Action) -> bool:
    return isinstance(route, ActionRoute) and route.transport != "page" and route.served.action is action


def _route(route: ActionRoute, params: Mapping[str, Any]) -> Route:
    method = route.served.trigger.method.value
    tag = (route.tags or ["default"])[0]
    path, rest = filled_path(route.path, params)
    query = urlencode(list(flat(rest)))
    can_open = method == "GET" and "{" not in path
    return Route(
        method=method,
        path=route.path,
        generic=why_generic(route.spec),
        anchor=f"/{quote(str(tag), safe='')}/{quote(route.unique_id, safe='')}",
        takes_body=route.served.takes_body,
        url=path + (f"?{query}" if query else "") if can_open else None,
    )


def _operations(action: Action, fields: Fields | None, params: Mapping[str, Any]) -> list[Call]:
    if fields is None:
        return []
    kinds: dict[str, Mapping[str, Any]] = {
        "query": fields.queries,
        "mutation": fields.mutations,
        "subscription": fields.subscriptions,
    }
    found = []
    for kind, members in kinds.items():
        for each in members.values():
            if getattr(each, "action", None) is action:
                operation, variables = operation_of(kind, each), variables_of(each, params)
                shown = _pretty(variables) if variables else ""
                found.append(Call(kind, operation.text(params), shown, json.dumps(asdict(operation))))
    return found


def _inputs(action: Action, params: Mapping[str, Any]) -> list[Input]:
    schema = _schema(action.params, "validation")
    properties, required = schema.get("properties", {}), schema.get("required", ())
    found = []
    for param in action.signature.client:
        shown = properties.get(param.alias, {})
        text, control = type_text(shown, schema.get("$defs", {})), _control(shown)
        given = params.get(param.alias, shown.get("default"))
        value = "" if given is None else given if isinstance(given, str) and control == "text" else json.dumps(given)
        default = json.dumps(shown["default"]) if "default" in shown else ""
        description = str(shown.get("description", ""))
        found.append(Input(param.alias, text, param.alias in required, description, default, control, value))
    return found


def _signature(action: Action, inputs: Iterable[Input]) -> str:
    """Return an action as its callers see it, without what is injected."""
    given = [f"{each.name}: {each.type}" + (f" = {each.default}" if each.default else "") for each in inputs]
    schema: dict[str, Any] = {"type": "null"}
    if action.result is not None:
        schema = _schema(action.result, "serialization")
    returns = type_text(schema, schema.get("$defs", {}))
    return f"{action.name}({', '.join(given)}) -> {f'stream of {returns}' if action.signature.streams else returns}"


def _control(schema: Mapping[str, Any]) -> str:
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(choices) == 1:
        return _control(choices[0])
    kinds = {"string": "text", "integer": "number", "number": "number", "boolean": "check"}
    return kinds.get(str(schema.get("type")), "json")


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the type that a JSON schema describes, in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"][:6]))
    if "const" in schema:
        return json.dumps(schema["const"])
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(type_text(each, definitions) for each in choices))
    if schema.get("type") == "array":
        return f"list of {type_text(schema.get('items', {}), definitions)}"
    kind = str(schema.get("title", "object") if "properties" in schema else schema.get("type", "any"))
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _schema(adapter: Any, mode: Any) -> dict[str, Any]:
    try:
        return json_schema_of(adapter, mode)
    except PydanticUserError:
        return {}


def _pretty(value: Any) -> str:
    return json.dumps(to_jsonable_python(value, fallback=str), indent=2, ensure_ascii=False)


def _code(
    action: Action, routes: list[Route], operations: list[Call], params: Mapping[str, Any], base: str
) -> dict[str, str]:
    """Return the calls of an action as text to copy, by the name of the language or tool."""
    made: dict[str, str] = {}
    if routes:
        route = routes[0]
        path, rest = filled_path(route.path, params)
        url, body = base + path, json.dumps(rest, ensure_ascii=False)
        if route.takes_body:
            made["curl"] = f"curl -X {route.method} {shlex.quote(url)} \\\n  --json {shlex.quote(body)}"
            made["Python"] = (
                f"import httpx\n\nanswer = httpx.request({route.method!r}, {url!r}, json={rest!r})\nprint(answer.json())"
            )
            headers = '{ "Content-Type": "application/json" }'
            options = f'{{\n  method: "{route.method}",\n  headers: {headers},\n  body: JSON.stringify({body}),\n}}'
        else:
            query = urlencode(list(flat(rest)))
            url += f"?{query}" if query else ""
            way = "" if route.method == "GET" else f"-X {route.method} "
            made["curl"] = f"curl {way}{shlex.quote(url)}"
            made["Python"] = f"import httpx\n\nanswer = httpx.request({route.method!r}, {url!r})\nprint(answer.json())"
            options = f'{{ method: "{route.method}" }}'
        made["TypeScript"] = (
            f"const answer = await fetch({json.dumps(url)}, {options});\nconsole.log(await answer.json());"
        )
    words = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in params.items()]
    made["servey call"] = shlex.join(["servey", "call", action.name, *words])
    if operations:
        made["GraphQL"] = operations[0].text + (f"\n\n{operations[0].variables}" if operations[0].variables else "")
    return made


def _tool_of(exposure: Exposure) -> str | None:
    return next((place.removeprefix(_TOOL) for place in exposure.places if place.startswith(_TOOL)), None)


def _tool_code(exposure: Exposure, params: Mapping[str, Any], mcp: str) -> dict[str, str]:
    """Return the call of the action as a tool of agents, as text to copy, if it is one."""
    name = _tool_of(exposure)
    if name is None:
        return {}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": params}}
    return {"MCP": f"curl {shlex.quote(mcp)} \\\n  --json {shlex.quote(json.dumps(call, ensure_ascii=False))}"}
