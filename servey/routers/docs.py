"""The pages that show OpenAPI, from files on this machine: they work without internet.

The scripts and styles are those of the package ``fastapi-offline`` (Swagger UI, Apache 2.0; ReDoc, MIT), which the extra
``standard`` installs; only its folder is used.
"""

from __future__ import annotations

import html
import importlib.util
import secrets
from pathlib import Path

from fastapi import FastAPI
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from servey.errors import NotFound
from servey.web import error_response

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}
_ASSETS_PATH = "/_servey/assets"


def mount_docs(app: FastAPI) -> None:
    """Adds ``/docs`` (Swagger UI), ``/redoc`` and the files that they need."""

    async def swagger(request: Request) -> Response:
        root = _root(request)
        options = {
            "url": f"{root}{app.openapi_url}",
            "dom_id": "#page",
            "deepLinking": True,
            "persistAuthorization": True,
            "displayRequestDuration": True,
            "tryItOutEnabled": True,
        }
        return _page(
            app.title,
            head=f'<link rel="stylesheet" href="{root}{_ASSETS_PATH}/swagger-ui.css">',
            script=f"{root}{_ASSETS_PATH}/swagger-ui-bundle.js",
            start=f"SwaggerUIBundle({_in_script(options)})",
            root=root,
        )

    async def redoc(request: Request) -> Response:
        root = _root(request)
        return _page(
            app.title,
            head="<style>body { margin: 0 }</style>",
            script=f"{root}{_ASSETS_PATH}/redoc.standalone.js",
            start=f"Redoc.init({_in_script(f'{root}{app.openapi_url}')}, {{}}, document.getElementById('page'))",
            root=root,
        )

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        folder = _assets_folder()
        if name not in ASSETS or folder is None:
            return error_response(NotFound())
        return FileResponse(
            folder / name,
            media_type=ASSETS[name],
            headers={"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"},
        )

    app.add_route("/docs", swagger, include_in_schema=False)
    app.add_route("/redoc", redoc, include_in_schema=False)
    app.add_route(f"{_ASSETS_PATH}/{{name}}", asset, include_in_schema=False)


def _assets_folder() -> Path | None:
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static"


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _in_script(value: object) -> str:
    """A value as JavaScript that can not end the script that it stands in."""
    return to_json(value).decode().replace("<", "\\u003c")


def _page(title: str, *, head: str, script: str, start: str, root: str) -> Response:
    if _assets_folder() is None:
        text = 'This page needs the package fastapi-offline; install Servey with the extra "standard".'
        return HTMLResponse(f"<!DOCTYPE html><title>{html.escape(title)}</title><p>{text}</p>", 503)
    nonce = secrets.token_urlsafe(16)
    body = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="{root}{_ASSETS_PATH}/favicon.png">
{head}
</head>
<body>
<div id="page"></div>
<script src="{script}" nonce="{nonce}"></script>
<script nonce="{nonce}">{start}</script>
</body>
</html>
"""
    return HTMLResponse(
        body,
        headers={
            # Both viewers write styles into the page, and ReDoc searches in a worker that it makes of a blob.
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
                "font-src 'self' data:; connect-src 'self'; worker-src blob:; child-src blob:; base-uri 'none'; "
                "frame-ancestors 'none'; form-action 'self'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
