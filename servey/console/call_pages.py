"""The console's pages of calls: the last ones, and everything that came of one request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response

from servey.console import jobs
from servey.console.page import Console, live, render
from servey.core.access import Authorization
from servey.core.errors import ActionError, NotFound
from servey.core.queues import JobState
from servey.observability.client_spans import follow_client_spans
from servey.observability.recorder import RecordedCall, Recorder
from servey.observability.telemetry import Observer
from servey.runtime.runtime import Runtime

PER_PAGE = 100
SAMPLE_SECONDS = 1.0
"""In production at most one call in so many seconds is recorded with its steps."""
STATUSES = ("succeeded", "refused", "failed")
_LONGEST_ID = 200


@asynccontextmanager
async def recording(runtime: Runtime) -> AsyncIterator[None]:
    """Record the calls of an app while it runs."""
    is_dev = runtime.settings.is_dev
    if runtime.observer is None:
        runtime.observer = Observer(runtime.metrics, None, None)
    runtime.observer.recorder = Recorder(
        interval=0 if is_dev else SAMPLE_SECONDS, shows_errors=is_dev, is_followed=not is_dev
    )
    follow_client_spans()
    yield


def _calls_of(runtime: Runtime) -> list[RecordedCall]:
    """The recorded calls, the last one first."""
    recorder = runtime.observer.recorder if runtime.observer is not None else None
    return [] if recorder is None else list(recorder.calls)[::-1]


def _matching(calls: Iterable[RecordedCall], query: Mapping[str, str]) -> list[RecordedCall]:
    action, transport, status = query.get("action", ""), query.get("transport", ""), query.get("status", "")
    lowest, highest = {"succeeded": (0, 399), "refused": (400, 499), "failed": (500, 999)}.get(status, (0, 999))
    return [
        each
        for each in calls
        if (not action or action in (each.title, *(call.action for call in each.actions)))
        and transport in ("", each.transport)
        and lowest <= each.status <= highest
    ]


async def show_calls(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The last calls that fit the filters."""
    query, everything = request.query_params, _calls_of(console.runtime)
    found = _matching(everything, query)
    names = {call.action for each in everything for call in each.actions}
    return await render(
        console,
        request,
        "calls",
        "Calls",
        calls=found[:PER_PAGE],
        total=len(everything),
        query=query,
        actions=sorted(names),
        transports=sorted({each.transport for each in everything}),
        statuses=STATUSES,
    )


async def live_calls(console: Console, request: Request, caller: Authorization | None) -> Response:
    """A stream of server-sent events, one whenever a call was recorded."""

    async def count() -> object:
        recorder = console.runtime.observer.recorder if console.runtime.observer is not None else None
        return recorder.count if recorder is not None else 0

    return live(console.runtime, count)


async def show_trace(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Everything that has one request id: the request, its jobs, its webhooks. Errors: NotFound."""
    request_id = request.query_params.get("id", "")[:_LONGEST_ID]
    found = (each for each in _calls_of(console.runtime) if each.request_id == request_id)
    calls = sorted(found, key=lambda each: each.began_at)
    waiting = [each for each in await _jobs(console.runtime) if request_id and each.job.request_id == request_id]
    if not calls and not waiting:
        raise NotFound("No call of this request is recorded; the last 200 of this process are")
    began = min((each.began_at for each in calls), default=0.0)
    ended = max((each.began_at + each.seconds for each in calls), default=0.0)
    return await render(
        console, request, "trace", "Calls", request_id=request_id, calls=calls, jobs=waiting, began=began, ended=ended
    )


async def _jobs(runtime: Runtime) -> list[JobState]:
    try:
        return await runtime.queue.jobs(states=jobs.STATES, most=jobs.MOST_READ)
    except ActionError:  # the queue does not answer; the calls are still worth a look
        return []
