"""Dependency graphs, compiled: FastAPI's ``Depends`` as straight-line code, written once for each action.

FastAPI's solver decides on each request in which order dependencies run, which of them are shared, where each parameter
comes from, and how each function is called. Here these decisions are made once, when the graph is compiled. The order of
calls and of clean-up, scopes, ``use_cache``, ``Security`` scopes, concurrency limits and validation errors are FastAPI's.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi.security import SecurityScopes
from pydantic import ValidationError
from starlette.background import BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request, cookie_parser

from servey.calls.resources import Resources
from servey.compat import fastapi_solver as compat
from servey.compat.fastapi import Dependant, ModelField, tree

Prepare = Callable[[Dependant], object]
MISSING: Any = object()
"""Stands for a dependency that did not run, because one of its parameters is not valid."""


Call = Callable[[dict[str, Any]], Awaitable[Any]]
"""Runs the action's function with the injected values."""

Run = Callable[[Resources, Call], Coroutine[Any, Any, Any]]
"""Opens the dependencies of a call, runs it with the injected values, and returns what it returns."""


@dataclass(frozen=True)
class Graph:
    """A compiled graph.

    Shape: ``source`` is its code; ``has_exits`` says whether something has to be closed after a call.
    """

    run: Run
    source: str
    has_exits: bool


def compile_graph(dependant: Dependant, overrides: Mapping[Any, Any] | None = None, prepare: Prepare = id) -> Graph:
    """Compile what FastAPI injects; ``prepare`` changes the dependant of each of the ``overrides`` in place."""
    writer = _Writer(overrides or {}, dependant, prepare)
    source = writer.write(dependant)
    exec(compile(source, f"<dependencies of {getattr(dependant.call, '__name__', 'a route')}>", "exec"), writer.names)
    return Graph(writer.names["run_graph"], source, writer.has_exits)


class _Writer:
    def __init__(self, overrides: Mapping[Any, Any], root: Dependant, prepare: Prepare) -> None:
        self._overrides = overrides
        self._prepare = prepare
        self._lines: list[str] = []
        self._count = 0
        self._results: dict[Hashable, str] = {}
        self._failures: dict[Hashable, str] = {}
        self._used: dict[int, tuple[Dependant, Dependant]] = {}
        self._keys = [compat.cache_key(each) for each in tree(root) if each is not root]
        self.has_exits = False
        self.names: dict[str, Any] = {
            "MISSING": MISSING,
            "ValidationError": ValidationError,
            "Request": Request,
            "BackgroundTasks": BackgroundTasks,
            "SecurityScopes": SecurityScopes,
            "new_response": compat.new_response,
            "run_in_threadpool": run_in_threadpool,
            "request_params_to_args": compat.request_params_to_args,
            "request_body_to_args": compat.request_body_to_args,
            "limited": compat.limited,
            "cookies_of": _cookies_of,
            "parse_qsl": parse_qsl,
        }

    def write(self, root: Dependant) -> str:
        values = self._emit_values(root)
        if self._fails(root):
            self._lines.append("  if errors: raise held.invalid(errors)")
        self._lines.append(f"  return await call({{{', '.join(f'{name!r}: {value}' for name, value in values)}}})")
        return "\n".join(["async def run_graph(held, call):", *self._preamble(), *self._lines])

    def _preamble(self) -> list[str]:
        text = "\n".join(self._lines)
        lines: list[str] = []
        if "errors" in text:
            lines.append("  errors = []")
        if re.search(r"\brequest\b(?!')", text):
            lines.append("  request = held.request or Request(held.scope, held.receive)")
        if "headers" in text:
            # A name may come more than once; the first value counts.
            lines.append("  headers = held.headers or dict(reversed(held.scope['headers']))")
        if "cookies.get" in text:
            lines.append("  cookies = cookies_of(held.scope['headers'])")
        if "query.get" in text:
            lines.append(
                "  query = dict(parse_qsl(held.scope['query_string'].decode('latin-1'), keep_blank_values=True))"
            )
        if "path.get" in text:
            lines.append("  path = held.scope.get('path_params') or {}")
        if re.search(r"\bbackground\b", text):
            lines.append("  background = held.background = BackgroundTasks()")
        if re.search(r"\bresponse\b", text):
            lines.append("  response = held.response = new_response()")
        return lines

    # ------------------------------------------------------------------------------------------------ what is used

    def _used_for(self, dependant: Dependant) -> Dependant:
        """The dependant that is called in the place of another: itself, or its override."""
        if not self._overrides or dependant.call not in self._overrides:
            return dependant
        known = self._used.get(id(dependant))
        if known is None:
            known = dependant, compat.overridden(dependant, self._overrides[dependant.call])
            self._prepare(known[1])
            self._used[id(dependant)] = known
        return known[1]

    def _fails(self, dependant: Dependant) -> bool:
        """Whether a parameter below may not be valid."""
        fields = ("path_params", "query_params", "header_params", "cookie_params", "body_params")
        return any(getattr(dependant, each) for each in fields) or any(
            self._fails(self._used_for(each)) for each in dependant.dependencies
        )

    def _is_done(self, dependant: Dependant) -> bool:
        """Whether solving a dependency again has no effect, because it calls no function."""
        return (
            dependant.use_cache
            and compat.cache_key(dependant) in self._results
            and all(map(self._is_done, self._used_for(dependant).dependencies))
        )

    # ------------------------------------------------------------------------------------------------- dependencies

    def _emit_values(self, dependant: Dependant) -> list[tuple[str, str]]:
        """Emits what a callable needs; the names of its arguments with the expressions of their values."""
        values = []
        for each in dependant.dependencies:
            result = self._emit_dependency(each)
            if each.name is not None:
                values.append((each.name, result))
        values += self._emit_fields(dependant)
        return [*dict(values).items(), *_given(dependant)]

    def _emit_dependency(self, dependant: Dependant) -> str:
        key = compat.cache_key(dependant)
        used = self._used_for(dependant)
        fails = self._fails(used)
        if self._is_done(dependant):
            if fails:
                self._lines.append(f"  if {self._results[key]} is MISSING: errors += {self._failures[key]}")
            return self._results[key]
        self._count += 1
        number = self._count
        result = f"value_{number}"
        if fails:
            self._lines.append(f"  before_{number} = len(errors)")
        values = self._emit_values(used)
        indent = "  "
        if fails:
            self._lines += [f"  {result} = MISSING", f"  if len(errors) == before_{number}:"]
            indent = "    "
        if dependant.use_cache and key in self._results:
            self._lines.append(f"{indent}{result} = {self._results[key]}")
        else:
            self._emit_call(indent, result, number, dependant, used, values)
        if key not in self._results:
            self._results[key] = result
            if fails and self._keys.count(key) > 1:
                self._failures[key] = f"failed_{number}"
                self._lines.append(f"  failed_{number} = errors[before_{number}:]")
        return result

    def _emit_call(
        self,
        indent: str,
        result: str,
        number: int,
        dependant: Dependant,
        used: Dependant,
        values: list[tuple[str, str]],
    ) -> None:
        call = f"call_{number}"
        arguments = ", ".join(f"{name}={value}" for name, value in values)
        if not all(name.isidentifier() for name, _ in values):
            arguments = "**{" + ", ".join(f"{name!r}: {value}" for name, value in values) + "}"
        is_async_generator = compat.is_async_generator(used.call)
        slots = f"slots_{number}.get_semaphore()"
        if used.concurrency is not None:
            self.names[f"slots_{number}"] = used.concurrency
        if is_async_generator or compat.is_generator(used.call):
            assert used.call is not None
            self.has_exits = True
            self.names[call] = compat.context_manager_of(used.call)
            manager = f"{call}({arguments})"
            enter = "enter_async" if is_async_generator else "enter"
            scope = "function" if dependant.scope == "function" else "request"
            if used.concurrency is not None:
                manager = f"limited({manager}, {slots})"
            self._lines.append(f"{indent}{result} = await held.{enter}({manager}, {scope!r})")
            return
        self.names[call] = used.call
        if used.concurrency is not None:
            self._lines.append(f"{indent}async with {slots}:")
            indent += "  "
        if compat.is_coroutine(used.call):
            self._lines.append(f"{indent}{result} = await {call}({arguments})")
        else:
            first = f"{call}, {arguments}" if arguments else call
            self._lines.append(f"{indent}{result} = await run_in_threadpool({first})")

    # --------------------------------------------------------------------------------------------------- parameters

    def _emit_fields(self, dependant: Dependant) -> list[tuple[str, str]]:
        sources = (
            ("path", dependant.path_params, "request.path_params"),
            ("query", dependant.query_params, "request.query_params"),
            ("header", dependant.header_params, "request.headers"),
            ("cookie", dependant.cookie_params, "request.cookies"),
        )
        values: list[tuple[str, str]] = []
        for kind, fields, whole in sources:
            if fields and all(compat.plain_alias(field) is not None for field in fields):
                values += [(field.name, self._emit_field(kind, field)) for field in fields]
            elif fields:
                values += self._emit_read(fields, f"request_params_to_args({self._bind(fields)}, {whole})")
        if dependant.body_params:
            fields = dependant.body_params
            arguments = f"body_fields={self._bind(fields)}, received_body=held.body, embed_body_fields=True"
            values += self._emit_read(fields, f"await request_body_to_args({arguments})")
        return values

    def _emit_read(self, fields: Sequence[ModelField], read: str) -> list[tuple[str, str]]:
        """Emits FastAPI's own reading of parameters: models, lists, aliases, bodies."""
        self._count += 1
        read_values = f"read_{self._count}"
        self._lines += [f"  {read_values}, wrong = {read}", "  errors += wrong"]
        return [(field.name, f"{read_values}.get({field.name!r}, MISSING)") for field in fields]

    def _emit_field(self, kind: str, field: ModelField) -> str:
        """Emits one scalar parameter: looked up, validated, or its default."""
        self._count += 1
        result = f"param_{self._count}"
        alias = compat.plain_alias(field)
        assert alias is not None
        known = self._bind(field)
        location = (kind, alias)
        look_up = f"{kind}.get({alias!r})"
        if kind == "header":
            look_up = f"headers.get({alias.lower().encode('latin-1')!r})"
        elif kind == "cookie":
            look_up = f"cookies.get({alias!r})"
        self._lines.append(f"  {result} = {look_up}")
        default = compat.default_of(field)
        check = f"checked_{known}"
        self.names[check] = field._type_adapter.validator.validate_python
        decoded = f"{result}.decode('latin-1')" if kind == "header" else result
        if default is not None:
            self._lines.append(f"  if {result} is None: {result} = {self._bind(default)}()")
        else:
            self.names["absent"] = _absent
            self._lines += [
                f"  if {result} is None:",
                f"    {result}, wrong = absent({known}, {location!r})",
                "    errors += wrong",
            ]
        self._lines += [
            "  else:",
            f"    try: {result} = {check}({decoded}, from_attributes=True)",
            "    except ValidationError:",
            f"      {result}, wrong = {known}.validate({decoded}, {{}}, loc={location!r})",
            "      errors += wrong",
        ]
        return result

    def _bind(self, value: Any) -> str:
        self._count += 1
        name = f"known_{self._count}"
        self.names[name] = value
        return name


def _given(dependant: Dependant) -> list[tuple[str, str]]:
    """What a callable takes of the call itself, in the order in which FastAPI fills it in."""
    given = []
    for name in (dependant.http_connection_param_name, dependant.request_param_name):
        if name:
            given.append((name, "request"))
    if dependant.background_tasks_param_name:
        given.append((dependant.background_tasks_param_name, "background"))
    if dependant.response_param_name:
        given.append((dependant.response_param_name, "response"))
    if dependant.security_scopes_param_name:
        given.append(
            (dependant.security_scopes_param_name, f"SecurityScopes(scopes={compat.oauth_scopes(dependant)!r})")
        )
    return given


def _cookies_of(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    cookies: dict[str, str] = {}
    for name, value in headers:
        if name != b"cookie":
            continue
        text = value.decode("latin-1")
        if '"' in text:
            cookies.update(cookie_parser(text))
            continue
        # As Starlette does it, for values that are not quoted.
        for part in text.split(";"):
            key, equals, content = part.partition("=")
            if not equals:
                key, content = "", key
            key, content = key.strip(), content.strip()
            if key or content:
                cookies[key] = content
    return cookies


def _absent(field: ModelField, location: tuple[str, ...]) -> tuple[Any, list[Any]]:
    """Return FastAPI's value for a parameter that was not sent, and that is required or has a validated default."""
    read, errors = compat.request_params_to_args([field], {})
    return read.get(field.name, MISSING), errors
