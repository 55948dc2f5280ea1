"""Refuses the requests of a mounted app whose lifespan does not run: a host only runs its own.

Without it nothing checks the settings, no job runs, and no stream ends at shutdown.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from servey.core.errors import ActionError
from servey.core.process import Process
from servey.http.close_codes import INTERNAL_ERROR
from servey.http.errors import error_response

MOUNTED = "The mounted Servey app is not running; add to the host's lifespan: async with servey_app.running()"
INSTALLED = (
    "The app that Servey is installed in is mounted, and its lifespan does not run; "
    "add to the lifespan of the outer app: async with inner_app.router.lifespan_context(inner_app)"
)


async def refuse(problem: str, runtime: Process, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with 500 and the problem; a websocket is refused before it is accepted."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": INTERNAL_ERROR, "reason": "the app's lifespan does not run"})
        return
    await error_response(ActionError(500, "internal", problem), runtime, scope)(scope, receive, send)


def require_lifespan(routes: Iterable[BaseRoute], runtime: Process) -> None:
    """Make these routes refuse requests that came through a mount while the lifespan does not run.

    Without a mount they serve them: tests of a host often leave its lifespan out.
    """
    for route in routes:
        route.handle = _required(route.handle, runtime)  # type: ignore[assignment, method-assign]


def _required(handle: ASGIApp, runtime: Process) -> ASGIApp:
    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette's `Mount` sets the key.
        if "app_root_path" in scope and not runtime.is_running:
            await refuse(INSTALLED, runtime, scope, receive, send)
        else:
            await handle(scope, receive, send)

    return checked
