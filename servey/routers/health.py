"""Liveness, readiness and metrics endpoints."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from servey.http.web import json_response
from servey.observability.metrics import CONTENT_TYPE
from servey.runtime.health import Readiness
from servey.runtime.runtime import Runtime


def mount_health(app: FastAPI, runtime: Runtime) -> None:
    """Add ``/health/live`` and ``/health/ready``, and ``/metrics`` if it is enabled.

    Readiness is 503 during shutdown and while a part in use fails its check. The response names the part, the log has the
    reason.
    """

    readiness = Readiness(runtime)

    async def live(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(request: Request) -> Response:
        if runtime.is_ending:
            return json_response({"status": "stopping"}, 503)
        failing = await readiness.failing_parts()
        return json_response(
            {"status": "failing", "failing": failing} if failing else {"status": "ok"}, 503 if failing else 200
        )

    async def metrics(request: Request) -> Response:
        return Response(await runtime.metrics.text(), media_type=CONTENT_TYPE)

    app.add_route("/health/live", live, include_in_schema=False)
    app.add_route("/health/ready", ready, include_in_schema=False)
    if runtime.settings.metrics:
        app.add_route("/metrics", metrics, include_in_schema=False)
