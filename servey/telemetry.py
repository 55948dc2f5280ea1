"""What is observed of calls: a log line each, metrics, spans. Where nothing of it is wanted there is no observer at all,
and a call pays for looking whether there is one.

OpenTelemetry is its API alone; who installs and configures an SDK gets FastAPI's own span and metrics of each request, and
within them, and around jobs, ours.
Source: OpenTelemetry semantic conventions 1.44, HTTP, GraphQL and messaging; W3C trace context.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import metrics as otel_metrics
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servey.context import Context, _note
from servey.errors import ActionError
from servey.logs import LogWriter, installed_writer
from servey.metrics import CALL_SECONDS, CALLS, HTTP_REQUESTS, Labels, Metric, Metrics
from servey.web import as_action_error, request_id_of

if TYPE_CHECKING:
    from servey.actions import Action
    from servey.runtime import Runtime

NOTED = "servey.note"
"""The key in a scope that says that its request is observed already."""

SEND_DURATION, PROCESS_DURATION = "messaging.client.operation.duration", "messaging.process.duration"
CLIENT_LEFT = 499
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MAX_ACTIONS = 10
_MAX_PATH = 300


class Note:
    """What is known so far of one request or call."""

    __slots__ = ("actions", "answered", "request_id", "scope", "status", "subject", "trace_id", "transport")

    def __init__(self, request_id: str, transport: str | None = None, scope: Scope | None = None) -> None:
        self.request_id = request_id
        self.transport = transport
        self.scope = scope
        self.actions: list[str] = []
        self.subject: str | None = None
        self.status: int | None = None
        self.answered: float | None = None
        self.trace_id: str | None = None

    def add(self, action: str) -> None:
        """Notes that an action was called."""
        if len(self.actions) < _MAX_ACTIONS and action not in self.actions:
            self.actions.append(action)

    def fields(self) -> dict[str, Any]:
        """What a log line says of it."""
        actions = self.actions or _routed(self.scope)
        fields = {
            "request_id": self.request_id,
            "transport": self.transport or ("rest" if actions else "http"),
            "action": ",".join(actions) or None,
            "subject": self.subject,
            "trace_id": self.trace_id,
        }
        return {name: value for name, value in fields.items() if value is not None}


class Observer:
    """Watches the calls of one app, for the log, for metrics and for traces, whichever of them is wanted."""

    def __init__(
        self,
        metrics: Metrics,
        writer: LogWriter | None,
        tracer: trace.Tracer | None,
        durations: Mapping[str, otel_metrics.Histogram] | None = None,
    ) -> None:
        self.tracer = tracer
        self._durations = durations or {}
        self._metrics = metrics
        self._writer = writer

    async def request(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Has an app serve a request, and tells of it."""
        scope[NOTED] = note = Note(request_id_of(scope), scope=scope)
        noting = _note.set(note)
        begun = time.perf_counter()

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                note.status = message["status"]
                note.answered = time.perf_counter()
            await send(message)

        try:
            await app(scope, receive, tell)
        except BaseException as error:
            if note.status is None:
                note.status = _status_of(error)
            raise
        finally:
            _note.reset(noting)
            self._tell_of_request(note, scope, begun)

    def _tell_of_request(self, note: Note, scope: Scope, begun: float) -> None:
        ended = time.perf_counter()
        status = note.status or CLIENT_LEFT
        route = scope.get("route")
        template = getattr(route, "path", None) or ""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        for action in _routed(scope):
            self._metrics.add(CALLS, action, "rest", str(status))
            # A stream may last for hours; what is measured is how long its beginning took.
            self._metrics.observe(CALL_SECONDS, (note.answered or ended) - begun, action, "rest")
        self._metrics.add(HTTP_REQUESTS, method, template, str(status))
        if self._writer is not None:
            path = scope["path"][:_MAX_PATH]
            self._writer.line(
                {
                    "ts": time.time(),
                    "level": "INFO",
                    "logger": "servey.access",
                    "msg": f"{method} {path} {status}",
                    **note.fields(),
                    "status": status,
                    "duration_ms": round((ended - begun) * 1000, 3),
                    "method": method,
                    "route": template,
                }
            )

    async def call(
        self,
        invoke: Callable[[Action, Mapping[str, Any], Context], Awaitable[Any]],
        action: Action,
        params: Mapping[str, Any],
        context: Context,
    ) -> Any:
        """Makes a call that is not a request of its own, and tells of it."""
        of_request: Note | None = _note.get(None) if context.via in ("rest", "page", "graphql") else None
        note = of_request or Note(context.request_id, context.via)
        note.transport = context.via
        note.add(action.name)
        noting = _note.set(note)
        begun = time.perf_counter()
        status = 200
        try:
            return await invoke(action, params, context)
        except BaseException as error:
            status = _status_of(error)
            raise
        finally:
            _note.reset(noting)
            seconds = time.perf_counter() - begun
            self._metrics.add(CALLS, action.name, context.via, str(status))
            self._metrics.observe(CALL_SECONDS, seconds, action.name, context.via)
            if self._writer is not None and of_request is None:
                note.subject = note.subject or context.subject_id
                self._writer.line(
                    {
                        "ts": time.time(),
                        "level": "INFO",
                        "logger": "servey.access",
                        "msg": f"{context.via} {action.name} {status}",
                        **note.fields(),
                        "status": status,
                        "duration_ms": round(seconds * 1000, 3),
                    }
                )

    @contextmanager
    def performing(self, action: Action, context: Context) -> Iterator[None]:
        """A span around an action's function and its dependencies."""
        if self.tracer is None:
            yield
            return
        attributes = {
            "servey.action": action.name,
            "servey.transport": context.via,
            "code.function.name": f"{action.fn.__module__}.{action.fn.__qualname__}",
        }
        with self.tracer.start_as_current_span(
            f"action {action.name}", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            note: Note | None = _note.get(None)
            if note is not None:
                note.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            with _failing(span):
                yield

    def carrier(self) -> dict[str, str]:
        """What goes along with a job or an event, so that its trace is found from ours: ``traceparent``."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier

    @contextmanager
    def sending(self, system: str, destination: str) -> Iterator[dict[str, str]]:
        """A span of a producer around putting something into a queue or on a bus; gives what goes along with it."""
        attributes = _messaging(system, destination, "send", "send")
        with self._timed(SEND_DURATION, attributes):
            if self.tracer is None:
                yield {}
                return
            with self.tracer.start_as_current_span(
                f"send {destination}", kind=SpanKind.PRODUCER, attributes=attributes
            ):
                yield self.carrier()

    @contextmanager
    def processing(self, system: str, destination: str, carrier: Mapping[str, str] | None) -> Iterator[None]:
        """A span of a consumer around what comes of something sent: a trace of the sender's, linked to its span."""
        attributes = _messaging(system, destination, "process", "process")
        with self._timed(PROCESS_DURATION, attributes), self._consuming(destination, carrier, attributes):
            yield

    @contextmanager
    def _consuming(
        self, destination: str, carrier: Mapping[str, str] | None, attributes: Mapping[str, str]
    ) -> Iterator[None]:
        if self.tracer is None:
            yield
            return
        sent_in = propagate.extract(carrier or {})
        sender = trace.get_current_span(sent_in).get_span_context()
        with self.tracer.start_as_current_span(
            f"process {destination}",
            context=sent_in,
            kind=SpanKind.CONSUMER,
            links=[Link(sender)] if sender.is_valid else [],
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            with _failing(span):
                yield

    @contextmanager
    def operating(self, kind: str, name: str | None) -> Iterator[None]:
        """A span around a GraphQL operation, ``kind`` being query, mutation or subscription; its document is not told,
        since what somebody writes into it may be secret.
        """
        if self.tracer is None:
            yield
            return
        attributes = {"graphql.operation.type": kind}
        if name is not None:
            attributes["graphql.operation.name"] = name
        with self.tracer.start_as_current_span(kind, attributes=attributes):
            yield

    @contextmanager
    def _timed(self, metric: str, attributes: Mapping[str, str]) -> Iterator[None]:
        histogram = self._durations.get(metric)
        if histogram is None:
            yield
            return
        told, begun = dict(attributes), time.perf_counter()
        try:
            yield
        except BaseException as error:
            told["error.type"] = type(error).__qualname__
            raise
        finally:
            histogram.record(time.perf_counter() - begun, told)


class Observing(Protocol):
    """Whatever may be observed."""

    observer: Observer | None


def sending(runtime: Observing, system: str, destination: str) -> Any:
    """A span around sending, see `Observer.sending`; where no one observes, nothing, and nothing goes along."""
    observer = runtime.observer
    return nullcontext({}) if observer is None else observer.sending(system, destination)


def processing(runtime: Observing, system: str, destination: str, carrier: Mapping[str, str] | None) -> Any:
    """A span around processing, see `Observer.processing`; where no one observes, nothing."""
    observer = runtime.observer
    return nullcontext() if observer is None else observer.processing(system, destination, carrier)


def observer_of(runtime: Runtime) -> Observer | None:
    """Who observes the calls of an app; None where no one wants to know anything."""
    provider, meters = trace.get_tracer_provider(), otel_metrics.get_meter_provider()
    tracer = None if isinstance(provider, trace.ProxyTracerProvider) else provider.get_tracer("servey")
    # The API has no public name for a meter provider that no one has configured.
    has_meter = type(meters).__name__ != "_ProxyMeterProvider"
    durations: dict[str, otel_metrics.Histogram] = {}
    if has_meter:
        meter = meters.get_meter("servey")
        runtime.metrics.forward = _forwarding(meter)
        durations = {name: meter.create_histogram(name, unit="s") for name in (SEND_DURATION, PROCESS_DURATION)}
    settings = runtime.settings
    writer = installed_writer() if settings.access_log else None
    if writer is None and tracer is None and not has_meter and not settings.metrics:
        return None
    return Observer(runtime.metrics, writer, tracer, durations)


def _forwarding(meter: otel_metrics.Meter) -> Callable[[Metric, float, Labels], None]:
    """Passes on what is counted to OpenTelemetry: `servey_jobs_total` as `servey.jobs`."""
    instruments: dict[Metric, Any] = {}

    def forward(metric: Metric, amount: float, labels: Labels) -> None:
        attributes = dict(zip(metric.labels, labels, strict=True))
        instrument = instruments.get(metric)
        if instrument is None:
            name = metric.name.removesuffix("_total").removesuffix("_seconds").replace("servey_", "servey.", 1)
            make: Any = meter.create_histogram if metric.kind == "histogram" else meter.create_counter
            unit = "s" if metric.kind == "histogram" else "1"
            instrument = instruments[metric] = make(name.replace("_", "."), unit=unit, description=metric.help)
        (instrument.record if metric.kind == "histogram" else instrument.add)(amount, attributes)

    return forward


def _routed(scope: Scope | None) -> list[str]:
    served = getattr(scope.get("route"), "served", None) if scope is not None else None
    return [served.action.name] if served is not None else []


def _status_of(error: BaseException) -> int:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CLIENT_LEFT
    known = as_action_error(error) if isinstance(error, Exception) else None
    return known.status if known is not None else 500


@contextmanager
def _failing(span: Span) -> Iterator[None]:
    """Marks the span of what fails; a caller's own mistake is not a failure."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, ActionError) or error.status >= 500:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
        raise


def _messaging(system: str, destination: str, operation: str, kind: str) -> dict[str, str]:
    return {
        "messaging.system": system,
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
    }
