"""The few routes of a router that can match a path, so that a request does not scan all of them.

FastAPI's own router still decides between them: it runs with these routes only, in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fastapi import APIRouter
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from servey.compat.fastapi_routes import is_unwrapped
from servey.compat.starlette import get_route_path

CANDIDATES = "servey.candidates"
"""The scope key of the routes that can match a request."""

_PARAMETER = re.compile(r"\{([a-zA-Z_]\w*)\}")
_LIBRARIES = ("starlette.", "fastapi.", "servey.")


@dataclass(eq=False)
class _Node:
    fixed: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    places: list[int] = field(default_factory=list)


class Candidates:
    """The routes of a router by the paths that they match.

    Shape: ``current`` is the router's own list, in which a route may be replaced by one that is equal to it: one with the
    same path, function and methods, but for example with dependencies. ``routes`` are those that are known here.
    """

    def __init__(self, routes: list[BaseRoute]) -> None:
        self.current = routes
        self.routes: list[BaseRoute] = list(routes)
        self._static: dict[str, list[int]] = {}
        self._tree = _Node()
        # The beginnings of paths that only the route itself can match.
        self._loose: list[tuple[str, int]] = []
        for place, route in enumerate(routes):
            self._add(place, route)

    def of(self, path: str) -> list[BaseRoute] | None:
        """Return the routes that can match a path or its form with or without a slash at the end, to which a router
        redirects; None if they are not known.
        """
        if path in ("", "/") or path.endswith("\n"):
            return None
        other = path.rstrip("/") if path.endswith("/") else path + "/"
        found = {place for each in (path, other) for place in self._places(each)}
        return [self.current[place] for place in sorted(found)]

    def _places(self, path: str) -> Iterator[int]:
        yield from self._static.get(path, ())
        yield from _below(self._tree, path.split("/"), 0)
        for start, place in self._loose:
            if path.startswith(start):
                yield place

    def _add(self, place: int, route: BaseRoute) -> None:
        is_known = "matches" not in vars(route) and type(route).matches.__module__.startswith(_LIBRARIES)
        path: str = getattr(route, "path", "")
        start = path.partition("{")[0]
        if not is_known or not isinstance(route, Route | WebSocketRoute):
            self._loose.append((start if is_known and isinstance(route, Mount) else "", place))
        elif route.path_regex.pattern != _pattern(path):
            self._loose.append((start if _pattern(start)[:-1] in route.path_regex.pattern else "", place))
        elif "{" not in path:
            self._static.setdefault(path, []).append(place)
        else:
            node = self._tree
            for part in path.split("/"):
                if _PARAMETER.fullmatch(part):
                    node.parameter = node = node.parameter or _Node()
                else:
                    node = node.fixed.setdefault(part, _Node())
            node.places.append(place)


def _pattern(path: str) -> str:
    """Return the regular expression of a path whose parameters are whole segments."""
    parts = []
    for part in path.split("/"):
        found = _PARAMETER.fullmatch(part)
        parts.append(re.escape(part) if found is None else f"(?P<{found[1]}>[^/]+)")
    return f"^{'/'.join(parts)}$"


def _below(node: _Node, parts: list[str], index: int) -> Iterator[int]:
    if index == len(parts):
        yield from node.places
        return
    part = parts[index]
    fixed = node.fixed.get(part)
    if fixed is not None:
        yield from _below(fixed, parts, index + 1)
    if node.parameter is not None and part:
        yield from _below(node.parameter, parts, index + 1)


class Narrowed:
    """The ASGI app of a router, which searches only the routes that can match a request."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        self._app = router.middleware_stack
        self._candidates = Candidates([])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        routes = self._routes(scope) if scope["type"] in ("http", "websocket") else None
        if routes is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("router", self._router)
        scope[CANDIDATES] = self._router, routes
        same = APIRouter.__new__(APIRouter)
        vars(same).update(vars(self._router), routes=routes)
        await same.app(scope, receive, send)

    def of(self, path: str) -> Sequence[BaseRoute]:
        """Return the routes that can match a path; all of them if that is not known."""
        routes = self._current().of(path)
        return self._router.routes if routes is None else routes

    def _routes(self, scope: Scope) -> list[BaseRoute] | None:
        router = self._router
        # A subclass, middleware of the router or a tool may look for routes in another way.
        if type(router) is not APIRouter or "app" in vars(router) or self._app != router.app or not is_unwrapped():
            return None
        return self._current().of(get_route_path(scope))

    def _current(self) -> Candidates:
        routes = self._router.routes
        known = self._candidates
        # Compares identities first, so it is fast while nothing changes.
        if routes is not known.current or routes != known.routes:
            self._candidates = Candidates(routes)
        return self._candidates


def narrow(router: APIRouter) -> Narrowed:
    """Make a router search only the routes that can match a request, and return what does it."""
    stack = router.middleware_stack
    if isinstance(stack, Narrowed):
        return stack
    narrowed = Narrowed(router)
    router.middleware_stack = narrowed
    return narrowed


def routes_of(scope: Scope) -> Sequence[BaseRoute]:
    """Return the routes of the request's router that can match it."""
    router, routes = scope.get(CANDIDATES, (None, ()))
    found: Sequence[BaseRoute] = routes if router is scope["router"] else scope["router"].routes
    return found
