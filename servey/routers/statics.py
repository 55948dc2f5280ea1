"""Files of a static site, served where no route is."""

from __future__ import annotations

import mimetypes
import os
import stat
from pathlib import Path

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from servey.compression import takes
from servey.errors import NotFound
from servey.routers.failures import plain_error_page
from servey.routers.shipped import accepts_html, page_headers
from servey.settings import Settings
from servey.web import error_response

COMPRESSED = {"br": ".br", "gzip": ".gz"}
"""Content codings, the best first, and how the names of files end that are in them."""
_HIDDEN_BUT = (".well-known",)


class StaticSite(StaticFiles):
    """``index.html`` for a folder, ``/sub`` redirected to ``/sub/``, ``404.html`` for what is not there.

    It is the router's last resort, so that it never stands before a route: a wrong method on a route stays a 405.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        mimetypes.init()  # it reads files, which the first request should not have to wait for
        super().__init__(directory=folder, html=True)
        self._fallback = settings.static_site_fallback
        self._csp = settings.page_csp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        response = await self._found(scope) if scope["method"] in ("GET", "HEAD") else None
        if response is None or response.status_code == 404:
            response = await self._instead(scope) or response or nothing_at(scope)
        if (response.media_type or "").startswith("text/html"):
            page_headers(response, self._csp)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        await response(scope, receive, send)

    async def _found(self, scope: Scope) -> Response | None:
        path = self.get_path(scope)
        if any(part.startswith(".") and part not in _HIDDEN_BUT for part in Path(path).parts if part != "."):
            return None
        try:
            return await self._compressed(path, scope) or await self.get_response(path, scope)
        except HTTPException as error:
            if error.status_code not in (404, 405):
                raise
            return None

    async def _compressed(self, path: str, scope: Scope) -> Response | None:
        """A file as somebody has compressed it beforehand, which lies beside it."""
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

    async def _instead(self, scope: Scope) -> Response | None:
        """The file that an app of a single page is, for a browser that asks for one of the app's own addresses."""
        last = scope["path"].rpartition("/")[2]
        if self._fallback is None or scope["method"] not in ("GET", "HEAD") or "." in last or not accepts_html(scope):
            return None
        full_path, facts = await to_thread.run_sync(self.lookup_path, self._fallback)
        return None if facts is None else self.file_response(full_path, facts, scope)


def nothing_at(scope: Scope) -> Response:
    """The answer where nothing is: a page for a browser."""
    return plain_error_page(NotFound()) if accepts_html(scope) else error_response(NotFound())
