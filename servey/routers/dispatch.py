"""A table in front of a router: the route of a path is looked up, not looked for.

Static paths are keys of a dictionary, paths with parameters a tree of their segments. Both find what the router would
find, the route that was added first; or nothing, and then the router looks itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from servey.compat.starlette import get_route_path
from servey.routers.forms import AGAIN
from servey.web import request_id_of

_PARAMETER = re.compile(r"\{[a-zA-Z_]\w*\}")

Found = tuple[Any, Sequence[str]]
"""A route of ours, and the values of its path parameters. Its ``serve`` answers a request; None where the router has to."""


@dataclass(eq=False)
class _Leaf:
    """What is at one path: by method, the route that was added first and its place; None is a route that is not ours."""

    routes: dict[str, tuple[int, BaseRoute | None]] = field(default_factory=dict)


@dataclass(eq=False)
class _Node:
    """One segment of the paths with parameters."""

    fixed: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    leaf: _Leaf | None = None


class Table:
    """What a router serves, by path and method, as long as its routes are those that it was made of."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        self.routes = routes
        self.count = len(routes)
        self._static: dict[str, _Leaf] = {}
        self._tree = _Node()
        # How the paths begin of which only the router knows what is there.
        self._unknown: list[str] = []
        for place, route in enumerate(routes):
            self._add(place, route)

    def find(self, method: str, path: str) -> Found | None:
        """The action's route for a request; None where the router has to look."""
        leaf = self._static.get(path)
        if leaf is not None and method in leaf.routes:
            route = leaf.routes[method][1]
            return None if route is None else (route, ())
        best: tuple[int, BaseRoute | None] = (self.count, None)
        values: Sequence[str] = ()
        for each, given in self._with_parameters(path):
            found = each.routes.get(method)
            if found is not None and found[0] < best[0]:
                best, values = found, given
        return None if best[1] is None else (best[1], values)

    def methods(self, path: str) -> list[str] | None:
        """The methods that a path has, of which there are none where nothing is; None where the router has to look."""
        if path.endswith("\n") or self._is_unknown(path):
            return None
        leaves = self._leaves(path)
        if not leaves:
            other = path.rstrip("/") if path.endswith("/") else path + "/"
            if path != "/" and (self._is_unknown(other) or self._leaves(other)):
                return None  # it is redirected there
        found = {method: route for leaf in leaves for method, (_, route) in leaf.routes.items()}
        if None in found.values():
            return None
        return sorted({*found, "HEAD"} if "GET" in found else found)

    def _is_unknown(self, path: str) -> bool:
        return any(path.startswith(start) for start in self._unknown)

    def _leaves(self, path: str) -> list[_Leaf]:
        leaf = self._static.get(path)
        return [*([] if leaf is None else [leaf]), *(each for each, _ in self._with_parameters(path))]

    def _with_parameters(self, path: str) -> list[tuple[_Leaf, list[str]]]:
        """The paths with parameters that are this one, each with their values."""
        return _below(self._tree, path.split("/"), [])

    def _add(self, place: int, route: BaseRoute) -> None:
        if type(route) is WebSocketRoute:
            return
        is_ours = hasattr(type(route), "serve")
        known = (is_ours or type(route) in (APIRoute, Route)) and getattr(route, "methods", None)
        path: str = getattr(route, "path", "")
        parts = path.split("/")
        start = path.partition("{")[0]
        if not known or not all(_PARAMETER.fullmatch(part) for part in parts if "{" in part):
            self._unknown.append(start if known or isinstance(route, Mount) else "")
            return
        if any(start.startswith(other) or other.startswith(start) for other in self._unknown):
            self._unknown.append(start)  # the one before may take its requests
            return
        ours = route if is_ours else None
        methods: set[str] = route.methods  # type: ignore[attr-defined]
        if "{" in path:
            node = self._tree
            for part in parts:
                if "{" not in part:
                    node = node.fixed.setdefault(part, _Node())
                else:
                    node.parameter = node = node.parameter or _Node()
            leaf = node.leaf = node.leaf or _Leaf()
        else:
            leaf = self._static.setdefault(path, _Leaf())
            for before, _ in self._with_parameters(path):
                for method in methods & set(before.routes):
                    leaf.routes.setdefault(method, (place, None))  # the one with parameters was first
        for method in methods:
            leaf.routes.setdefault(method, (place, ours))


def _below(node: _Node, parts: list[str], values: list[str]) -> list[tuple[_Leaf, list[str]]]:
    for index, part in enumerate(parts):
        fixed = node.fixed.get(part)
        parameter = node.parameter if part else None
        if fixed is not None and parameter is not None:
            rest = parts[index + 1 :]
            return _below(fixed, rest, [*values]) + _below(parameter, rest, [*values, part])
        if fixed is not None:
            node = fixed
        elif parameter is not None:
            node = parameter
            values.append(part)
        else:
            return []
    return [] if node.leaf is None else [(node.leaf, values)]


class Tables:
    """The table of an app's router, made anew where routes have been added since."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        self._table = Table(routes)

    def current(self) -> Table:
        """The table of the routes that there are now."""
        table = self._table
        if len(table.routes) != table.count:
            table = self._table = Table(table.routes)
        return table


class Dispatch:
    """Stands in front of a router, inside of all middleware: serves what its table finds, and passes on the rest."""

    def __init__(self, app: ASGIApp, tables: Tables) -> None:
        self.app = app
        self._tables = tables

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and AGAIN not in scope and "fastapi.telemetry" not in scope:
            found = self._tables.current().find(scope["method"], get_route_path(scope))
            if found is not None:
                route, values = found
                serve = route.serve
                if serve is not None:
                    # As the router does, for middleware that looks at what was served.
                    scope.setdefault("router", scope["app"].router)
                    scope["route"] = route
                    scope["endpoint"] = route.endpoint
                    scope["path_params"] = {
                        **scope.get("path_params", {}),
                        **dict(zip(route.param_convertors, values, strict=True)),
                    }
                    await serve(scope, receive, send, values, self.app, request_id_of(scope))
                    return
        await self.app(scope, receive, send)
