"""A table in front of a router: the route of a path is looked up, not looked for.

Static paths are keys of a dictionary, paths with parameters a tree of their segments. Both find what the router would
find, the route that was added first; or nothing, and then the router looks itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from servey.compat.starlette import get_route_path
from servey.routers.compiled import AGAIN
from servey.routers.pages import PageRoute
from servey.routers.rest import ActionRoute

_PARAMETER = re.compile(r"\{[a-zA-Z_]\w*\}")

Found = tuple[ActionRoute, Sequence[str]]
"""The route of an action, and the values of its path parameters."""


@dataclass(eq=False)
class _Leaf:
    """What is at one path: by method, the route that was added first and its place; None is a route that is not ours."""

    routes: dict[str, tuple[int, ActionRoute | None]] = field(default_factory=dict)


@dataclass(eq=False)
class _Node:
    """One segment of the paths with parameters."""

    fixed: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    leaf: _Leaf | None = None


class Table:
    """What a router serves, by path and method, as long as its routes are those that it was made of."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        self._routes = routes
        self._count = len(routes)
        self._first = routes[0] if routes else None
        self._static: dict[str, _Leaf] = {}
        self._tree = _Node()
        # How the paths begin of which only the router knows what is there.
        self._unknown: list[str] = []
        for place, route in enumerate(routes):
            self._add(place, route)

    @property
    def is_current(self) -> bool:
        """Whether no route was added or taken away since."""
        return len(self._routes) == self._count and (self._count == 0 or self._routes[0] is self._first)

    def find(self, method: str, path: str) -> Found | None:
        """The action's route for a request; None where the router has to look."""
        leaf = self._static.get(path)
        if leaf is not None and method in leaf.routes:
            route = leaf.routes[method][1]
            return None if route is None else (route, ())
        best: tuple[int, ActionRoute | None] | None = None
        values: Sequence[str] = ()
        for each, given in self._with_parameters(path):
            found = each.routes.get(method)
            if found is not None and (best is None or found[0] < best[0]):
                best, values = found, given
        return None if best is None or best[1] is None else (best[1], values)

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

    def _with_parameters(self, path: str) -> list[tuple[_Leaf, tuple[str, ...]]]:
        """The paths with parameters that are this one, each with their values."""
        fronts: list[tuple[_Node, tuple[str, ...]]] = [(self._tree, ())]
        for part in path.split("/"):
            further: list[tuple[_Node, tuple[str, ...]]] = []
            for node, values in fronts:
                fixed = node.fixed.get(part)
                if fixed is not None:
                    further.append((fixed, values))
                if part and node.parameter is not None:
                    further.append((node.parameter, (*values, part)))
            if not further:
                return []
            fronts = further
        return [(node.leaf, values) for node, values in fronts if node.leaf is not None]

    def _add(self, place: int, route: BaseRoute) -> None:
        if type(route) is WebSocketRoute:
            return
        known = type(route) in (ActionRoute, PageRoute, APIRoute, Route) and getattr(route, "methods", None)
        path: str = getattr(route, "path", "")
        parts = path.split("/")
        start = path.partition("{")[0]
        if not known or not all(_PARAMETER.fullmatch(part) for part in parts if "{" in part):
            self._unknown.append(start if known or isinstance(route, Mount) else "")
            return
        if any(start.startswith(other) or other.startswith(start) for other in self._unknown):
            self._unknown.append(start)  # the one before may take its requests
            return
        ours = route if isinstance(route, ActionRoute) else None
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


class Tables:
    """The table of an app's router, made anew where routes have been added since."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        self._routes = routes
        self._table = Table(routes)

    @property
    def current(self) -> Table:
        """The table of the routes that there are now."""
        if not self._table.is_current:
            self._table = Table(self._routes)
        return self._table


class Dispatch:
    """Stands in front of a router, inside of all middleware: serves what its table finds, and passes on the rest."""

    def __init__(self, app: ASGIApp, tables: Tables) -> None:
        self.app = app
        self._tables = tables

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and AGAIN not in scope and "fastapi.telemetry" not in scope:
            found = self._tables.current.find(scope["method"], get_route_path(scope))
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
                    await serve(scope, receive, send, values, self.app)
                    return
        await self.app(scope, receive, send)
