"""The OpenAPI pages, served from local files so that they work without internet.

The scripts and styles come from the package ``fastapi-offline`` (Swagger UI, Apache 2.0; ReDoc, MIT), which the extra
``standard`` installs; only its files are used.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_oauth2_redirect_html
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from servey.core.errors import NotFound
from servey.layout.frame import frame_of
from servey.layout.page import VIEWER, escape, shipped_page
from servey.runtime.runtime import Runtime

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
}
_ASSETS_PATH = "/_servey/assets"
_REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
"""An image that ReDoc asks its maker for."""
_FOLLOW_SCHEME = """
const scheme = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", scheme.matches);
follow();
scheme.addEventListener("change", follow);
"""
_REDOC = """
const draw = () => {
  const style = getComputedStyle(document.documentElement);
  const color = name => style.getPropertyValue(`--${name}`).trim();
  const text = { primary: color("text"), secondary: color("dim") };
  const sans = { fontFamily: color("sans") }, mono = { fontFamily: color("mono") };
  const theme = {
    colors: { primary: { main: color("accent") }, success: { main: color("good") }, warning: { main: color("warn") },
              error: { main: color("bad") }, text, border: { dark: color("line"), light: color("line") } },
    schema: { nestedBackground: color("sunken"), linesColor: color("strong-line"), typeNameColor: color("dim"),
              typeTitleColor: color("dim") },
    sidebar: { backgroundColor: color("surface"), textColor: color("text"), activeTextColor: color("accent") },
    rightPanel: { backgroundColor: "#171c23", textColor: "#e5e9ef" },
    codeBlock: { backgroundColor: "#0f1318" },
    typography: { ...sans, fontSize: "15px", headings: { ...sans, fontWeight: "650" },
                  code: { ...mono, backgroundColor: color("sunken"), color: color("text") },
                  links: { color: color("accent") } },
  };
  Redoc.init(SPEC, { theme, hideDownloadButton: true }, document.getElementById("page"));
};
draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
"""


def mount_docs(app: FastAPI, runtime: Runtime, *, docs_url: str | None, redoc_url: str | None) -> None:
    """Add the pages of Swagger UI and ReDoc at these paths, and the files that they load."""

    async def swagger(request: Request) -> Response:
        root = _root(request)
        options = {
            "url": f"{root}{app.openapi_url}",
            "dom_id": "#page",
            "deepLinking": True,
            "persistAuthorization": True,
            "displayRequestDuration": True,
            "tryItOutEnabled": True,
            **(app.swagger_ui_parameters or {}),
        }
        if app.swagger_ui_oauth2_redirect_url:
            options["oauth2RedirectUrl"] = f"{root}{app.swagger_ui_oauth2_redirect_url}"
        start = f"const ui = SwaggerUIBundle({_in_script(options)});"
        if app.swagger_ui_init_oauth:
            start += f"ui.initOAuth({_in_script(app.swagger_ui_init_oauth)});"
        style = f'<link rel="stylesheet" href="{escape(root)}{_ASSETS_PATH}/swagger-ui.css">'
        return page(request, "Swagger UI", style, "swagger-ui-bundle.js", _FOLLOW_SCHEME + start)

    async def redoc(request: Request) -> Response:
        root = _root(request)
        spec = _in_script(f"{root}{app.openapi_url}")
        return page(request, "ReDoc", "", "redoc.standalone.js", _REDOC.replace("SPEC", spec))

    def page(request: Request, label: str, style: str, script: str, start: str) -> Response:
        frame = frame_of(runtime, request.scope)
        if _assets_folder() is None:
            text = 'This page needs the package fastapi-offline; install Servey with the extra "standard".'
            return shipped_page(frame, label, f"<h1>{label}</h1><p>{text}</p>", kind="text", current=label, status=503)
        return shipped_page(
            frame,
            label,
            '<div id="page"><p class="loading">Loading.</p></div>',
            kind="viewer",
            current=label,
            styles=("frame", "viewers"),
            more_head=style,
            scripts=[f"{_root(request)}{_ASSETS_PATH}/{script}"],
            start=start,
            policy=VIEWER,
        )

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        folder = _assets_folder()
        if name not in ASSETS or folder is None:
            raise NotFound()
        headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
        if name.startswith("redoc"):
            content = await to_thread.run_sync((folder / name).read_bytes)
            return Response(content.replace(_REDOC_LOGO, b"data:,"), media_type=ASSETS[name], headers=headers)
        return FileResponse(folder / name, media_type=ASSETS[name], headers=headers)

    async def redirect(request: Request) -> Response:
        return get_swagger_ui_oauth2_redirect_html()

    app.docs_url, app.redoc_url = docs_url, redoc_url
    if app.openapi_url is None:
        return
    if docs_url is not None:
        app.add_route(docs_url, swagger, include_in_schema=False)
        runtime.shipped["Swagger UI"] = docs_url
        if app.swagger_ui_oauth2_redirect_url:
            app.add_route(app.swagger_ui_oauth2_redirect_url, redirect, include_in_schema=False)
    if redoc_url is not None:
        app.add_route(redoc_url, redoc, include_in_schema=False)
        runtime.shipped["ReDoc"] = redoc_url
    app.add_route(f"{_ASSETS_PATH}/{{name}}", asset, include_in_schema=False)


def _assets_folder() -> Path | None:
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static"


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _in_script(value: object) -> str:
    """Return a value as JavaScript that cannot close the surrounding script element."""
    return to_json(value).decode().replace("<", "\\u003c")
