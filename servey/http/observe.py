"""Observes HTTP requests: one access log line per request, and metrics."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servey.core.context import _record
from servey.http.web import request_id_of
from servey.observability.access_log import RequestRecord, routed_actions, write_access_line
from servey.observability.metrics import CALL_SECONDS, CALLS, HTTP_REQUESTS
from servey.observability.redaction import shown_path
from servey.observability.telemetry import CLIENT_LEFT, Observer, status_of

OBSERVED = "servey.record"
"""The scope key that marks a request as observed."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def needs_generic(observer: Observer | None, scope: Scope) -> bool:
    """Whether a request must take the generic path: a trace needs every layer, and a recording every step."""
    return observer is not None and (observer.tracer is not None or is_recorded(scope))


def is_recorded(scope: Scope) -> bool:
    """Whether the console records the steps of a request."""
    record: RequestRecord | None = scope.get(OBSERVED)
    return record is not None and record.recording is not None and record.recording.has_steps


async def observe_request(observer: Observer, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request with ``app``, then log and count it."""
    scope[OBSERVED] = record = RequestRecord(request_id_of(scope), scope=scope)
    observer.begin_recording(record)
    record_token = _record.set(record)
    started = time.perf_counter()

    async def send_and_record(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
            record.answered = time.perf_counter()
        await send(message)

    try:
        await app(scope, receive, send_and_record)
    except BaseException as error:
        if record.status is None:
            record.status = status_of(error)
        raise
    finally:
        _record.reset(record_token)
        _log_and_count(observer, record, scope, started)


def _log_and_count(observer: Observer, record: RequestRecord, scope: Scope, started: float) -> None:
    ended = time.perf_counter()
    record.request_id = request_id_of(scope)  # middleware may have replaced it
    status = record.status or CLIENT_LEFT
    route = scope.get("route")
    template = getattr(route, "path", None) or ""
    method = scope["method"] if scope["method"] in _METHODS else "other"
    actions = routed_actions(scope)
    recorded = None if record.recording is None else record.recording.transport
    if actions or recorded is not None:
        transport = recorded or str(getattr(route, "transport", "rest"))
        # The template groups calls of one route.
        title = f"{method} {template or shown_path(scope, None)}"
        observer.end_recording(record, transport, title, status, ended - started)
    for action in actions:
        observer.metrics.add(CALLS, action, "rest", str(status))
        # A stream may last for hours, so the time until the response starts is measured.
        observer.metrics.observe(CALL_SECONDS, (record.answered or ended) - started, action, "rest")
    observer.metrics.add(HTTP_REQUESTS, method, template, str(status))
    if observer.writer is not None:
        message = f"{method} {shown_path(scope, route)} {status}"
        seconds = ended - started
        write_access_line(
            observer.writer, record, message, status=status, seconds=seconds, method=method, route=template
        )
