"""A lookup table in front of a router.

Static paths are keys of a dictionary; paths with parameters form a tree of segments. The table finds the route that the
router would find, the one that was added first, or nothing, and then the router searches itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from servey.compat.fastapi_routes import is_unwrapped
from servey.compat.starlette import get_route_path
from servey.http.handlers import IN_STACK
from servey.http.observe import needs_generic
from servey.http.web import request_id_of
from servey.routers.rest.candidates import routes_of
from servey.routers.rest.fallback import FALLBACK

_PARAMETER = re.compile(r"\{[a-zA-Z_]\w*\}")

Found = tuple[Any, Sequence[str]]
"""An action's route and the values of its path parameters."""


@dataclass(eq=False)
class _Leaf:
    """The routes of one path: per method the first route's index and the route, or None if it is not an action's."""

    routes: dict[str, tuple[int, BaseRoute | None]] = field(default_factory=dict)


@dataclass(eq=False)
class _Node:
    """One segment of the paths that have parameters."""

    fixed: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    leaf: _Leaf | None = None


class Table:
    """A router's action routes by path and method, valid while the router's routes do not change.

    Shape: ``current`` is the router's own list, in which a route may be replaced by one that is equal to it; ``routes`` are
    those that are known here.
    """

    def __init__(self, routes: list[BaseRoute]) -> None:
        self.current = routes
        self.routes: list[BaseRoute] = list(routes)
        self.count: int = len(routes)
        self._static: dict[str, _Leaf] = {}
        self._tree = _Node()
        # Prefixes of paths that only the router can match.
        self._unknown: list[str] = []
        for place, route in enumerate(routes):
            self._add(place, route)

    def find(self, method: str, path: str) -> Found | None:
        """Return the action's route for a request, or None if the router has to search."""
        leaf = self._static.get(path)
        if leaf is not None and method in leaf.routes:
            return self._found(leaf.routes[method], ())
        best: tuple[int, BaseRoute | None] = (self.count, None)
        values: Sequence[str] = ()
        for each, values_of_path in self._with_parameters(path):
            found = each.routes.get(method)
            if found is not None and found[0] < best[0]:
                best, values = found, values_of_path
        return self._found(best, values)

    def _found(self, known: tuple[int, BaseRoute | None], values: Sequence[str]) -> Found | None:
        place, route = known
        return None if route is None or self.current[place] is not route else (route, values)

    def methods(self, path: str) -> list[str] | None:
        """Return the methods of a path, an empty list if nothing is there, or None if the router has to search."""
        if path.endswith("\n") or self._is_unknown(path):
            return None
        leaves = self._leaves(path)
        if not leaves:
            other = path.rstrip("/") if path.endswith("/") else path + "/"
            if path != "/" and (self._is_unknown(other) or self._leaves(other)):
                return None  # the router redirects to it
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
        """Return the leaves of matching paths with parameters, each with its values."""
        return _below(self._tree, path.split("/"), [])

    def _add(self, place: int, route: BaseRoute) -> None:
        if isinstance(route, WebSocketRoute):
            return
        is_action_route = hasattr(type(route), "direct")
        known = (is_action_route or type(route) in (APIRoute, Route)) and getattr(route, "methods", None)
        path: str = getattr(route, "path", "")
        parts = path.split("/")
        start = path.partition("{")[0]
        if not known or not all(_PARAMETER.fullmatch(part) for part in parts if "{" in part):
            self._unknown.append(start if known or isinstance(route, Mount) else "")
            return
        if any(start.startswith(other) or other.startswith(start) for other in self._unknown):
            self._unknown.append(start)  # an earlier route may match first
            return
        action_route = route if is_action_route else None
        methods: set[str] = route.methods  # type: ignore[attr-defined]
        if is_action_route and "GET" in methods:
            methods = {*methods, "HEAD"}
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
                    leaf.routes.setdefault(method, (place, None))  # the path with parameters was added first
        for method in methods:
            leaf.routes.setdefault(method, (place, action_route))


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
    """The table of an app's router, rebuilt when its routes have changed."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._table = Table(router.routes)

    def current(self) -> Table:
        """Return the table of the current routes."""
        routes = self._router.routes
        known = self._table
        # Compares identities first, so it is fast while nothing changes.
        if routes is not known.current or routes != known.routes:
            self._table = Table(routes)
        return self._table


class Dispatch:
    """The innermost middleware: serves requests that the table finds and passes the others to the router."""

    def __init__(self, app: ASGIApp, tables: Tables) -> None:
        self.app = app
        self._tables = tables

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and FALLBACK not in scope and "fastapi.telemetry" not in scope and is_unwrapped():
            found = self._tables.current().find(scope["method"], get_route_path(scope))
            if found is not None:
                route, values = found
                serve = route.direct()
                if serve is not None and not needs_generic(route.observer, scope):
                    add_match(scope, scope["app"].router, route, values)
                    scope[IN_STACK] = True
                    await serve(scope, receive, send, values, self.app, request_id_of(scope))
                    return
        await self.app(scope, receive, send)


def add_match(scope: Scope, router: Router, route: Any, values: Sequence[str]) -> None:
    """Set the keys of a scope that the router sets, which dependencies and middleware read; ``values`` are those of the
    path's parameters.
    """
    scope.setdefault("router", router)
    scope["route"] = route
    scope["endpoint"] = route.endpoint
    # Mounts around the app have path parameters too.
    around = scope.get("path_params")
    found = dict(zip(route.param_convertors, values, strict=True)) if values else {}
    scope["path_params"] = {**around, **found} if around else found


def allowed_methods(scope: Scope) -> list[str]:
    """Return all methods of this path, for ``Allow``."""
    methods: set[str] = set()
    router: Any = getattr(scope.get("app"), "router", scope["router"])
    # The router of a scope is the host's, if the app is mounted.
    for route in routes_of(scope) if router is scope["router"] else router.routes:
        if route.matches(scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)
