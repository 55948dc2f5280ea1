"""``/graphiql``: the IDE for queries, from files on this machine; it works without internet.

The scripts and styles are those of the package ``graphene-django-graphiql-static`` (GraphiQL, React and graphql-ws, all of
them MIT), which the extra ``standard`` installs; only its folder is used.
"""

from __future__ import annotations

import html
import importlib.util
import secrets
from pathlib import Path

from fastapi import APIRouter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from servey.errors import NotFound
from servey.runtime import Runtime
from servey.web import error_response

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
_START = """
const url = new URL(CONFIG.path, location.href).href;
const answers = GraphiQL.createFetcher({ url });
const isSubscription = (text, name) => {
  const found = [...text.replace(/#.*/g, "").matchAll(/(query|mutation|subscription)\\s*(\\w*)/g)];
  const meant = found.find((each) => each[2] === (name || "")) || found[0];
  return Boolean(meant) && meant[1] === "subscription";
};
// The headers editor is what a websocket says first, too.
const events = (params, headers) => ({
  subscribe: (sink) => {
    const client = graphqlWs.createClient({ url: url.replace(/^http/, "ws"), connectionParams: headers, retryAttempts: 0 });
    return { unsubscribe: client.subscribe(params, sink) };
  },
});
const fetcher = (params, options) =>
  isSubscription(params.query, params.operationName) ? events(params, options && options.headers) : answers(params, options);
ReactDOM.render(
  React.createElement(GraphiQL, { fetcher, defaultHeaders: CONFIG.headers, defaultQuery: CONFIG.query }),
  document.getElementById("page"),
);
"""
_QUERY = "# Write a query here; Ctrl-Space shows what there is, and Ctrl-Enter runs it.\n"


def mount_ide(router: APIRouter, runtime: Runtime, *, prefix: str = "") -> None:
    """Adds ``/graphiql`` and the files that it needs."""
    endpoint = prefix + runtime.settings.graphql_path

    async def graphiql(request: Request) -> Response:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return _page(runtime.settings.api_title, root + endpoint, root + prefix + _PATH)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        folder = _folder()
        if name not in ASSETS or folder is None:
            return error_response(NotFound())
        headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return FileResponse(folder / name, media_type=ASSETS[name], headers=headers)

    router.add_route(f"{prefix}/graphiql", graphiql, include_in_schema=False)
    router.add_route(f"{prefix}{_PATH}/{{name}}", asset, include_in_schema=False)


def _folder() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static" / PACKAGE


def _page(title: str, endpoint: str, assets: str) -> Response:
    title = html.escape(title)
    if _folder() is None:
        text = 'This page needs the package graphene-django-graphiql-static; install Servey with the extra "standard".'
        return HTMLResponse(f"<!DOCTYPE html><title>{title}</title><p>{text}</p>", 503)
    nonce = secrets.token_urlsafe(16)
    config = to_json({"path": endpoint, "query": _QUERY, "headers": '{"Authorization": ""}'})
    scripts = "\n".join(f'<script src="{assets}/{name}" nonce="{nonce}"></script>' for name in _SCRIPTS)
    start = f"const CONFIG = {config.decode()};".replace("<", "\\u003c") + _START
    body = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: GraphiQL</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}/graphiql.min.css">
<style>html, body, #page {{ height: 100%; margin: 0; overflow: hidden }}</style>
</head>
<body>
<div id="page">Loading</div>
{scripts}
<script nonce="{nonce}">{start}</script>
</body>
</html>
"""
    return HTMLResponse(
        body,
        headers={
            # The editor writes styles into the page.
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
                "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; "
                "frame-ancestors 'none'; form-action 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
