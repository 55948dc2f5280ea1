"""Static files, served for paths that match no route."""

from __future__ import annotations

import mimetypes
import os
import stat
from pathlib import Path
from urllib.parse import quote

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from servey.core.errors import NotFound
from servey.core.process import Process
from servey.http.compression import takes
from servey.http.errors import error_response
from servey.http.handlers import error_for_handlers
from servey.layout.frame import frame_of
from servey.layout.page import accepts_html, page_headers

COMPRESSED = {"br": ".br", "gzip": ".gz"}
"""Content codings by preference, with the file suffix of each."""
_HIDDEN_BUT = (".well-known",)


class StaticSite(StaticFiles):
    """Serves ``index.html`` for a folder, redirects ``/sub`` to ``/sub/``, serves ``404.html`` for missing files.

    It is the router's default app, so it never shadows a route, and a wrong method on a route is still 405.
    """

    def __init__(self, folder: Path, runtime: Process) -> None:
        mimetypes.init()  # it reads files; done here, so that the first request is not slow
        super().__init__(directory=folder, html=True)
        self._runtime = runtime
        settings = runtime.settings
        self._fallback = settings.static_site_fallback
        self._csp = settings.page_csp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        response = await self._found(scope) if scope["method"] in ("GET", "HEAD") else None
        if response is None or response.status_code == 404:
            response = await self._fallback_response(scope) or response or _not_found(scope, self._runtime)
        if (response.media_type or "").startswith("text/html"):
            page_headers(response, self._csp)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        await response(scope, receive, send)

    async def _found(self, scope: Scope) -> Response | None:
        if _is_ambiguous(scope):
            return None
        path = self.get_path(scope)
        if any(part.startswith(".") and part not in _HIDDEN_BUT for part in Path(path).parts if part != "."):
            return None
        try:
            response = await self._compressed(path, scope) or await self.get_response(path, scope)
        except HTTPException as error:
            if error.status_code not in (404, 405):
                raise
            return None
        if isinstance(response, RedirectResponse):
            # Relative to this host, whatever the Host header names.
            query = scope["query_string"].decode("latin-1")
            where = str(scope.get("root_path", "")) + scope["path"].removeprefix(str(scope.get("root_path", "")))
            response.headers["Location"] = quote(where, safe="/~:@!$&'()*+,;=") + "/" + (f"?{query}" if query else "")
        return response

    async def _compressed(self, path: str, scope: Scope) -> Response | None:
        """Return the precompressed variant of a file (``app.js.br`` beside ``app.js``), or None."""
        codings = [coding for coding in COMPRESSED if takes(scope, coding)]
        if not codings:
            return None
        name = os.path.join(path, "index.html") if scope["path"].endswith("/") else path
        try:
            found = await to_thread.run_sync(self._find_compressed, name, codings)
        except (OSError, ValueError):
            return None
        if found is None:
            return None
        coding, full_path, facts = found
        response = self.file_response(full_path, facts, scope)
        response.headers["Content-Encoding"] = coding
        response.headers.add_vary_header("Accept-Encoding")
        return response

    def _find_compressed(self, name: str, codings: list[str]) -> tuple[str, str, os.stat_result] | None:
        _, itself = self.lookup_path(name)
        if itself is None or not stat.S_ISREG(itself.st_mode):
            return None
        for coding in codings:
            full_path, facts = self.lookup_path(name + COMPRESSED[coding])
            if facts is not None and stat.S_ISREG(facts.st_mode):
                return coding, full_path, facts
        return None

    async def _fallback_response(self, scope: Scope) -> Response | None:
        """Return the fallback file of a single-page app for a browser that opens one of the app's paths."""
        last = scope["path"].rpartition("/")[2]
        if self._fallback is None or scope["method"] not in ("GET", "HEAD") or "." in last or not accepts_html(scope):
            return None
        full_path, facts = await to_thread.run_sync(self.lookup_path, self._fallback)
        return None if facts is None else self.file_response(full_path, facts, scope)


def _is_ambiguous(scope: Scope) -> bool:
    """Whether browsers may read the path as another host: `//host`, a backslash, or an encoded slash.

    Source: WHATWG URL, section 4.4 (special schemes treat a backslash as a slash).
    """
    raw = (scope.get("raw_path") or b"").lower()
    path = scope["path"]
    return "//" in path or "\\" in path or b"%2f" in raw or b"%5c" in raw


def _not_found(scope: Scope, runtime: Process) -> Response:
    if _opens_console(scope, runtime):
        root = str(scope.get("root_path", "")).rstrip("/")
        return RedirectResponse(root + runtime.shipped["Actions"], 303, headers={"Cache-Control": "no-store"})
    error = error_for_handlers(HTTPException(404), scope)
    if error is not None:
        raise error
    return nothing_at(scope, runtime)


def nothing_at(scope: Scope, runtime: Process) -> Response:
    """Return the 404 response: HTML for a browser, else JSON."""
    if not accepts_html(scope):
        return error_response(NotFound(), runtime, scope)
    from servey.routers.pages.failures import plain_error_page

    return plain_error_page(NotFound(), frame_of(runtime, scope))


def _opens_console(scope: Scope, runtime: Process) -> bool:
    """Whether a browser opens the root of an app in development that has nothing there."""
    root = str(scope.get("root_path", "")).rstrip("/")
    is_root = scope["method"] in ("GET", "HEAD") and scope["path"].removeprefix(root) in ("", "/")
    return is_root and runtime.settings.is_dev and "Actions" in runtime.shipped and accepts_html(scope)


def fallback_app(runtime: Process) -> ASGIApp:
    """Return the app for paths that match no route: the static site, or a 404."""
    folder = Path(runtime.settings.static_site_dir)
    if folder.is_dir():
        return StaticSite(folder, runtime)
    return Nothing(runtime)


class Nothing:
    """Answers 404, by the app's exception handler if it has one."""

    def __init__(self, runtime: Process) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        await _not_found(scope, self._runtime)(scope, receive, send)
