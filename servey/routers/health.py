"""Whether the process lives, whether it is ready for traffic, and what it has counted."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from servey.condition import Readiness
from servey.metrics import CONTENT_TYPE
from servey.runtime import Runtime
from servey.web import json_response


def mount_health(app: FastAPI, runtime: Runtime) -> None:
    """Adds ``/health/live`` and ``/health/ready``, and ``/metrics`` where the settings say so.

    Ready is 503 once the process was asked to end, and while a part that the app uses does not answer; it names the part,
    and the log says what is wrong with it.
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
