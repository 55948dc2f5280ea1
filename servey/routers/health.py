"""Whether the process lives, and whether it is ready for traffic."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from servey.runtime import Runtime
from servey.web import json_response


def mount_health(app: FastAPI, runtime: Runtime) -> None:
    """Adds ``/health/live`` and ``/health/ready``; ready is 503 once the process was asked to end."""

    async def live(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(request: Request) -> Response:
        stopping = runtime.stopping.is_set()
        return json_response({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)

    app.add_route("/health/live", live, include_in_schema=False)
    app.add_route("/health/ready", ready, include_in_schema=False)
