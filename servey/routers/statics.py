"""Files of a static site, served where no route is."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from servey.errors import NotFound
from servey.web import error_response


class StaticSite(StaticFiles):
    """``index.html`` for a folder, ``/sub`` redirected to ``/sub/``, ``404.html`` for what is not there.

    It is the router's last resort, so that it never stands before a route: a wrong method on a route stays a 405.
    """

    def __init__(self, folder: Path) -> None:
        mimetypes.init()  # it reads files, which the first request should not have to wait for
        super().__init__(directory=folder, html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        try:
            path = self.get_path(scope)
            if any(part.startswith(".") for part in Path(path).parts if part != "."):
                raise HTTPException(404)
            response: Response = await self.get_response(path, scope)
        except HTTPException as error:
            if error.status_code not in (404, 405):
                raise
            # Nothing is here, whatever the method.
            response = error_response(NotFound())
        await response(scope, receive, send)
