"""``/graphiql``: the GraphiQL IDE, served from local files, so that it works without internet access.

The package ``graphene-django-graphiql-static`` contains the scripts and styles (GraphiQL, React and graphql-ws, all MIT).
The extra ``standard`` installs it; only its static files are used.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fastapi import APIRouter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from servey.core.errors import NotFound
from servey.http.errors import error_response
from servey.layout.frame import frame_of
from servey.layout.page import VIEWER, escape, shipped_page
from servey.runtime.runtime import Runtime

LABEL = "GraphiQL"
PACKAGE = "graphene_django_graphiql_static"
ASSETS = {
    "graphiql.min.css": "text/css",
    "graphiql.min.js": "text/javascript",
    "graphql-ws.min.js": "text/javascript",
    "react-dom.production.min.js": "text/javascript",
    "react.production.min.js": "text/javascript",
}
_SCRIPTS = ("react.production.min.js", "react-dom.production.min.js", "graphql-ws.min.js", "graphiql.min.js")
_PATH = "/_servey/graphiql"
_SCRIPT = """
const url = new URL(CONFIG.path, location.href).href;
const http = GraphiQL.createFetcher({ url });
const isSubscription = (text, name) => {
  const found = [...text.replace(/#.*/g, "").matchAll(/(query|mutation|subscription)\\s*(\\w*)/g)];
  const operation = found.find((each) => each[2] === (name || "")) || found[0];
  return Boolean(operation) && operation[1] === "subscription";
};
// The headers editor also sets the payload of connection_init.
const websocket = (params, headers) => ({
  subscribe: (sink) => {
    const client = graphqlWs.createClient({ url: url.replace(/^http/, "ws"), connectionParams: headers, retryAttempts: 0 });
    return { unsubscribe: client.subscribe(params, sink) };
  },
});
const fetcher = (params, options) =>
  isSubscription(params.query, params.operationName) ? websocket(params, options && options.headers) : http(params, options);
// A link may contain an operation; it is shown and not run.
const given = new URLSearchParams(location.search);
const linked = given.has("query") ? { query: given.get("query"), variables: given.get("variables") || "" } : {};
ReactDOM.render(
  React.createElement(GraphiQL, { fetcher, defaultHeaders: CONFIG.headers, defaultQuery: CONFIG.query, ...linked }),
  document.getElementById("page"),
);
"""
_QUERY = "# Write a query here. Ctrl-Space completes, Ctrl-Enter runs it.\n"


def mount_ide(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> None:
    """Add the routes of ``/graphiql`` and its static files."""
    endpoint = prefix + runtime.settings.graphql_path

    async def graphiql(request: Request) -> Response:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return _page(runtime, request, root + endpoint, root + prefix + _PATH)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        folder = _folder()
        if name not in ASSETS or folder is None:
            return error_response(NotFound(), runtime, request.scope)
        headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return FileResponse(folder / name, media_type=ASSETS[name], headers=headers)

    router.add_route(f"{prefix}/graphiql", graphiql, include_in_schema=False)
    runtime.shipped[LABEL] = f"{prefix}/graphiql"
    router.add_route(f"{prefix}{_PATH}/{{name}}", asset, include_in_schema=False)


def _folder() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static" / PACKAGE


def _page(runtime: Runtime, request: Request, endpoint: str, assets: str) -> Response:
    frame = frame_of(runtime, request.scope)
    if _folder() is None:
        text = 'This page needs the package graphene-django-graphiql-static. Install Servey with the extra "standard".'
        content = f"<h1>{LABEL}</h1><p>{text}</p>"
        return shipped_page(frame, LABEL, content, kind="text", current=LABEL, status=503)
    config = to_json({"path": endpoint, "query": _QUERY, "headers": '{"Authorization": ""}'})
    return shipped_page(
        frame,
        LABEL,
        '<div id="page"><p class="loading">Loading.</p></div>',
        kind="viewer fill",
        current=LABEL,
        styles=("frame", "viewers"),
        more_head=f'<link rel="stylesheet" href="{escape(assets)}/graphiql.min.css">',
        scripts=[f"{assets}/{name}" for name in _SCRIPTS],
        start=f"const CONFIG = {config.decode()};".replace("<", "\\u003c") + _SCRIPT,
        policy=VIEWER,
    )
