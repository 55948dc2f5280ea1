"""``/_servey``: in development, every action with links to try it on each way in, as far as that is mounted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from servey.actions import Action
from servey.channels import WebsocketEventChannel
from servey.routers.shipped import escape, shipped_page
from servey.runtime import Runtime

PATH = "/_servey"
PAGES = {
    "/docs": "OpenAPI in Swagger UI",
    "/redoc": "OpenAPI in ReDoc",
    "/openapi.json": "the OpenAPI document",
    "/graphiql": "the IDE of GraphQL",
    "/asyncapi": "event channels, to listen to and to publish on",
    "/asyncapi.json": "the AsyncAPI document",
    "/health/ready": "whether everything that is needed answers",
    "/metrics": "measurements for Prometheus",
    "/login": "a token for a name and a password",
}


class Listed(Protocol):
    """Where an action can be called, who may call it, and why it is not where it is not."""

    @property
    def name(self) -> str: ...
    @property
    def places(self) -> tuple[str, ...]: ...
    @property
    def absences(self) -> tuple[str, ...]: ...
    @property
    def access(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def defined_at(self) -> str: ...


def mount_index(app: FastAPI, runtime: Runtime, actions: Callable[[], Iterable[Listed]]) -> None:
    """Adds ``/_servey``."""

    async def index(request: Request) -> Response:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        mounted = {getattr(route, "path", "") for route in app.routes}
        known = {action.name: action for action in runtime.catalog}
        rows = [_row(listed, known[listed.name], root, mounted) for listed in actions()]
        pages = "".join(
            f'<li><a href="{escape(root + path)}">{path}</a>: {what}</li>'
            for path, what in PAGES.items()
            if path in mounted
        )
        channels = "".join(
            _channel(channel, root, mounted) for channel in runtime.catalog.channels_of(WebsocketEventChannel)
        )
        body = f"""<main><h1>{escape(app.title)}</h1>
<p class="quiet">What this app has. This page is there in development only.</p>
<h2>Pages</h2><ul>{pages}</ul>
<h2>Actions</h2><table><thead><tr><th>Action</th><th>Try it</th><th>Access</th></tr></thead>
<tbody>{"".join(rows)}</tbody></table>
{f"<h2>Channels</h2><ul>{channels}</ul>" if channels else ""}</main>"""
        return shipped_page(f"{app.title}: actions", body)

    app.add_route(PATH, index, include_in_schema=False)


def _row(listed: Listed, action: Action, root: str, mounted: set[str]) -> str:
    ways = [_way(place, action, root, mounted) for place in listed.places]
    if not any(absence.startswith("not on the command line") for absence in listed.absences):
        ways.append(f"<code>{escape(_command(action))}</code>")
    ways += [f'<span class="quiet">{escape(absence)}</span>' for absence in listed.absences]
    return (
        f'<tr id="{escape(listed.name)}"><td><b>{escape(listed.name)}</b><br>{escape(listed.summary)}<br>'
        f'<code class="quiet">{escape(listed.defined_at)}</code></td>'
        f"<td>{'<br>'.join(ways)}</td><td>{escape(listed.access)}</td></tr>"
    )


def _way(place: str, action: Action, root: str, mounted: set[str]) -> str:
    """One way in, with a link where a browser can take it."""
    kind, _, rest = place.partition(" ")
    if kind == "page":
        method, _, path = rest.partition(" ")
        return _linked(place, root + path if method == "GET" and "{" not in path else None)
    if kind == "GraphQL" and "/graphiql" in mounted:
        return _linked(place, f"{root}/graphiql")
    if kind in ("GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH"):
        links = []
        if "/docs" in mounted:
            links.append(f'<a href="{escape(root)}/docs#/{_operation(action)}">in /docs</a>')
        if kind == "GET" and "{" not in rest and (query := _query(action)) is not None:
            links.append(f'<a href="{escape(root + rest + query)}">open</a>')
        return f"<code>{escape(place)}</code> {' '.join(links)}"
    return f"<code>{escape(place)}</code>"


def _linked(text: str, href: str | None) -> str:
    shown = f"<code>{escape(text)}</code>"
    return shown if href is None else f'{shown} <a href="{escape(href)}">open</a>'


def _operation(action: Action) -> str:
    """Where Swagger UI shows the operations of an action's first tag."""
    return quote(action.tags[0] if action.tags else "default", safe="")


def _params(action: Action) -> dict[str, Any] | None:
    """Parameters to try it with: those of an example, none where none are needed, else None."""
    example = next((each for each in action.examples if each.error is None and each.include_in_schema), None)
    if example is not None:
        return dict(example.params)
    return None if any(param.required for param in action.signature.client) else {}


def _query(action: Action) -> str | None:
    """A query string to try it with; None where its parameters are not all plain."""
    params = _params(action)
    if params is None or not all(isinstance(value, str | int | float | bool) for value in params.values()):
        return None
    plain = {name: json.dumps(value) if isinstance(value, bool) else value for name, value in params.items()}
    return f"?{urlencode(plain)}" if plain else ""


def _command(action: Action) -> str:
    words = ["servey", "call", action.name]
    for name, value in (_params(action) or {}).items():
        words.append(shlex.quote(f"{name}={value if isinstance(value, str) else json.dumps(value, default=str)}"))
    return " ".join(words)


def _channel(channel: WebsocketEventChannel[Any], root: str, mounted: set[str]) -> str:
    link = f' <a href="{escape(root)}/asyncapi">in /asyncapi</a>' if "/asyncapi" in mounted else ""
    return f"<li><code>{escape(channel.name)}</code>: <code>/subscription/{escape(channel.name)}</code>{link}</li>"
