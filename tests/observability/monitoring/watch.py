"""Prints as JSON what a monitoring package sees of the same requests to a FastAPI app, to Servey and to Servey in a host.

Usage: watch.py PACKAGE. Each package runs in a process of its own, since most of them patch FastAPI when they start.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

SEEN: list[Any] = []
"""One entry for each request that the package reports."""


def sentry() -> Callable[[Any], Any]:
    import sentry_sdk
    from sentry_sdk.transport import Transport

    class Kept(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                if item.type == "transaction":
                    SEEN.append([item.payload.json["transaction"], item.payload.json["transaction_info"]["source"]])

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Kept, traces_sample_rate=1.0)
    return lambda app: app


def _spans() -> Any:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    class Kept(SpanProcessor):
        def on_end(self, span: Any) -> None:
            if span.kind.name == "SERVER":
                SEEN.append([span.name, span.attributes.get("http.route"), span.status.status_code.name])

    provider = TracerProvider()
    provider.add_span_processor(Kept())
    return provider


def opentelemetry_fastapi() -> Callable[[Any], Any]:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    provider = _spans()

    def add(app: Any) -> Any:
        FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
        return app

    return add


def opentelemetry_asgi() -> Callable[[Any], Any]:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    provider = _spans()
    return lambda app: OpenTelemetryMiddleware(app, tracer_provider=provider)


def datadog() -> Callable[[Any], Any]:
    os.environ |= {
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
    }
    from ddtrace import patch
    from ddtrace.trace import TraceFilter, tracer

    class Kept(TraceFilter):
        def process_trace(self, trace: Any) -> None:
            SEEN.extend([span.name, span.resource, span.error] for span in trace if span.name == "fastapi.request")

    patch(fastapi=True, starlette=True)
    tracer.configure(trace_processors=[Kept()])
    return lambda app: app


def newrelic() -> Callable[[Any], Any]:
    os.environ |= {"NEW_RELIC_LICENSE_KEY": "0" * 40, "NEW_RELIC_DEVELOPER_MODE": "true", "NEW_RELIC_LOG": os.devnull}
    from newrelic import agent
    from newrelic.core.application import Application

    record = Application.record_transaction

    def recorded(self: Any, data: Any) -> Any:
        SEEN.append(data.path)
        return record(self, data)

    Application.record_transaction = recorded
    agent.initialize()
    agent.register_application(timeout=10)
    return lambda app: app


def prometheus() -> Callable[[Any], Any]:
    from prometheus_client import CollectorRegistry
    from prometheus_fastapi_instrumentator import Instrumentator, metrics

    def add(app: Any) -> Any:
        def seen(info: metrics.Info) -> None:
            SEEN.append([info.method, info.modified_handler, info.modified_status])

        Instrumentator(registry=CollectorRegistry()).add(seen).instrument(app)
        return app

    return add


def slowapi() -> Callable[[Any], Any]:
    from slowapi import Limiter, _rate_limit_exceeded_handler
    from slowapi.errors import RateLimitExceeded
    from slowapi.middleware import SlowAPIMiddleware

    def add(app: Any) -> Any:
        def counted(request: Any) -> str:
            SEEN.append(request.scope["path"])
            return "everybody"

        app.state.limiter = Limiter(key_func=counted, default_limits=["2/minute"])
        app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
        app.add_middleware(SlowAPIMiddleware)
        return app

    return add


PACKAGES = [sentry, opentelemetry_fastapi, opentelemetry_asgi, datadog, newrelic, prometheus, slowapi]

REQUESTS = [
    *(("GET", f"/plain?q={number}") for number in range(4)),
    *(("GET", path) for path in ("/threaded", "/items/5", "/breaking", "/refusing", "/depending", "/nowhere")),
    ("POST", "/posted"),
    ("PUT", "/plain"),
]


def watched(add: Callable[[Any], Any]) -> dict[str, Any]:
    from fastapi import Body, Depends, FastAPI, HTTPException, Request
    from starlette.testclient import TestClient

    from servey import Servey, Settings, WebTrigger, action, create_app

    async def plain(q: int = 1) -> int:
        return q

    def threaded() -> int:
        return 1

    async def items(number: int) -> int:
        return number

    async def posted(x: Annotated[int, Body(embed=True)]) -> int:
        return x

    async def breaking() -> int:
        raise ValueError("broken")

    async def refusing() -> int:
        raise HTTPException(403, "refused")

    async def depending(request: Request, number: Annotated[int, Depends(plain)]) -> str:
        return f"{request.url.path} {number}"

    functions = [
        ("GET", "/plain", plain),
        ("GET", "/threaded", threaded),
        ("GET", "/items/{number}", items),
        ("POST", "/posted", posted),
        ("GET", "/breaking", breaking),
        ("GET", "/refusing", refusing),
        ("GET", "/depending", depending),
    ]

    def with_fastapi() -> FastAPI:
        app = FastAPI()
        for method, path, function in functions:
            app.add_api_route(path, function, methods=[method])
        return app

    settings = Settings(env="prod")
    actions = [action(triggers=WebTrigger(method, path))(function) for method, path, function in functions]

    def installed() -> FastAPI:
        host = FastAPI()
        Servey(actions=actions, settings=settings).install(host)
        return host

    found = {}
    for make in (with_fastapi, lambda: create_app(actions=actions, settings=settings), installed):
        app = add(make())
        with TestClient(app, raise_server_exceptions=False) as http:
            SEEN.clear()
            statuses = [
                http.request(method, path, json={"x": 1} if method == "POST" else None).status_code
                for method, path in REQUESTS
            ]
        found[("fastapi", "servey", "installed")[len(found)]] = {"statuses": statuses, "seen": [*SEEN]}
    return found


if __name__ == "__main__":
    package = next(each for each in PACKAGES if each.__name__ == sys.argv[1])
    print(json.dumps(watched(package())))
