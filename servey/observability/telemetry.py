"""Observes calls: access log, metrics, spans. If none of them is enabled, there is no observer.

This uses the OpenTelemetry API only. If a project configures an SDK, it gets FastAPI's own span and metrics for each
request, and our spans inside them and around jobs.
Source: OpenTelemetry semantic conventions 1.44, HTTP, GraphQL and messaging; W3C trace context.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

from fastapi.exceptions import RequestValidationError
from opentelemetry import metrics as otel_metrics
from opentelemetry import propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from starlette.exceptions import HTTPException

from servey.core.context import Context, _record
from servey.core.errors import ActionError
from servey.observability.access_log import RequestRecord, current_recording, write_access_line
from servey.observability.logs import LogWriter, installed_writer
from servey.observability.metrics import CALL_SECONDS, CALLS, HTTP_REQUESTS, SECONDS, Labels, Metric, Metrics

if TYPE_CHECKING:
    from servey.core.actions import Action
    from servey.core.queues import Job
    from servey.core.settings import Settings
    from servey.observability.recorder import Recorder

SEND_DURATION, PROCESS_DURATION = "messaging.client.operation.duration", "messaging.process.duration"
_HTTP_ATTRIBUTES = {"method": "http.request.method", "route": "http.route", "status": "http.response.status_code"}
CLIENT_LEFT = 499
_WITH_REQUEST = ("rest", "page", "graphql", "mcp")


class Observer:
    """Observes the calls of one app for those of log, metrics, traces and the console that are enabled.

    Shape: ``recorder`` is set while the console is there.
    """

    def __init__(
        self,
        metrics: Metrics,
        writer: LogWriter | None,
        tracer: trace.Tracer | None,
        durations: Mapping[str, otel_metrics.Histogram] | None = None,
    ) -> None:
        self.tracer = tracer
        self._durations = durations or {}
        self.metrics = metrics
        self.writer = writer
        self.recorder: Recorder | None = None

    @property
    def follows_steps(self) -> bool:
        """Whether something wants to know when an action's function begins and ends."""
        return self.tracer is not None or self.recorder is not None

    def enter(self, action: Action, context: Context, step: str, params: Mapping[str, Any] | None = None) -> None:
        """Begin a step of a call for the console."""
        if self.recorder is not None:
            recording = current_recording()
            if recording is not None:
                recording.enter(action, context, step, params)

    def failed(self, error: BaseException) -> None:
        """Note the error of the current call for the console."""
        if self.recorder is not None:
            recording = current_recording()
            if recording is not None and not isinstance(error, asyncio.CancelledError | GeneratorExit):
                recording.error = recording.error or error

    async def call(
        self,
        invoke: Callable[[Action, Mapping[str, Any], Context], Awaitable[Any]],
        action: Action,
        params: Mapping[str, Any],
        context: Context,
    ) -> Any:
        """Run a call, and record its log line and metrics."""
        of_request: RequestRecord | None = _record.get(None) if context.via in _WITH_REQUEST else None
        record = of_request or RequestRecord(context.request_id, context.via)
        record.transport = context.via
        record.add(action.name)
        if self.recorder is not None and of_request is None:
            self.begin_recording(record, context.job_id)
        token = _record.set(record)
        started = time.perf_counter()
        status = 200
        try:
            return await invoke(action, params, context)
        except BaseException as error:
            status = status_of(error)
            self.failed(error)
            raise
        finally:
            _record.reset(token)
            seconds = time.perf_counter() - started
            self.metrics.add(CALLS, action.name, context.via, str(status))
            self.metrics.observe(CALL_SECONDS, seconds, action.name, context.via)
            if of_request is None:
                self.end_recording(record, context.via, action.name, status, seconds)
            if self.writer is not None and of_request is None:
                record.subject = record.subject or context.subject_id
                message = f"{context.via} {action.name} {status}"
                write_access_line(self.writer, record, message, status=status, seconds=seconds)

    def begin_recording(self, record: RequestRecord, job_id: str | None = None) -> None:
        """Begin to record a call for the console, if it is one of those that are recorded."""
        if self.recorder is not None:
            record.recording = self.recorder.begin()
            if record.recording is not None:
                record.recording.job_id = job_id

    def end_recording(self, record: RequestRecord, transport: str, title: str, status: int, seconds: float) -> None:
        """Keep what was recorded of a call that has ended."""
        if self.recorder is not None:
            self.recorder.end(
                record.recording,
                request_id=record.request_id,
                trace_id=record.trace_id,
                transport=transport,
                title=title,
                status=status,
                seconds=seconds,
            )

    @contextmanager
    def delivering(self, job: Job) -> Iterator[None]:
        """Record the delivery of a webhook for the console."""
        if self.recorder is None:
            yield
            return
        record = RequestRecord(job.request_id, "webhook")
        self.begin_recording(record, job.id)
        if record.recording is not None:
            span = trace.get_current_span().get_span_context()
            record.trace_id = trace.format_trace_id(span.trace_id) if span.is_valid else None
        token, started, status = _record.set(record), time.perf_counter(), 200
        try:
            yield
        except BaseException as error:
            status = status_of(error)
            self.failed(error)
            raise
        finally:
            _record.reset(token)
            self.end_recording(record, "webhook", job.title, status, time.perf_counter() - started)

    @contextmanager
    def performing(self, action: Action, context: Context) -> Iterator[None]:
        """A span around an action's function and its dependencies, and the end of a recorded step."""
        try:
            with self._span_of(action, context):
                yield
        except BaseException as error:
            self.failed(error)
            raise
        finally:
            recording = current_recording()
            if recording is not None:
                recording.leave(context)

    @contextmanager
    def _span_of(self, action: Action, context: Context) -> Iterator[None]:
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
            record: RequestRecord | None = _record.get(None)
            if record is not None:
                record.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            with _failing(span):
                yield

    def carrier(self) -> dict[str, str]:
        """The trace context to send along with a job or an event: ``traceparent``."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier

    def sending(
        self, system: str, destination: str, message_id: str | None = None
    ) -> AbstractContextManager[dict[str, str]]:
        """A producer span around sending to a queue or a bus; yields the trace context to send along."""
        recording = current_recording()
        if recording is not None:
            recording.add_sent(system, destination)
        if self.tracer is None and not self._durations:
            return nullcontext({})
        return self._sending(system, destination, message_id)

    @contextmanager
    def _sending(self, system: str, destination: str, message_id: str | None) -> Iterator[dict[str, str]]:
        attributes = _messaging(system, destination, "send", "send")
        with self._timed(SEND_DURATION, attributes):
            if self.tracer is None:
                yield {}
                return
            with self.tracer.start_as_current_span(
                f"send {destination}", kind=SpanKind.PRODUCER, attributes=_with_id(attributes, message_id)
            ):
                yield self.carrier()

    @contextmanager
    def processing(
        self, system: str, destination: str, carrier: Mapping[str, str] | None, message_id: str | None = None
    ) -> Iterator[None]:
        """A consumer span around processing, in the sender's trace and linked to the sender's span."""
        attributes = _messaging(system, destination, "process", "process")
        with self._timed(PROCESS_DURATION, attributes):
            with self._consuming(destination, carrier, _with_id(attributes, message_id)):
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
        """A span around a GraphQL operation of the ``kind`` query, mutation or subscription. Its document is not recorded,
        because it may contain secrets.
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
        recorded, started = dict(attributes), time.perf_counter()
        try:
            yield
        except BaseException as error:
            recorded["error.type"] = type(error).__qualname__
            raise
        finally:
            histogram.record(time.perf_counter() - started, recorded)


class Observing(Protocol):
    """Something that has an observer."""

    observer: Observer | None


def sending(runtime: Observing, system: str, destination: str, message_id: str | None = None) -> Any:
    """A span around sending, see `Observer.sending`; without an observer, a context manager that yields ``{}``."""
    observer = runtime.observer
    return nullcontext({}) if observer is None else observer.sending(system, destination, message_id)


def processing(
    runtime: Observing,
    system: str,
    destination: str,
    carrier: Mapping[str, str] | None,
    message_id: str | None = None,
) -> Any:
    """A span around processing, see `Observer.processing`; without an observer, a null context manager."""
    observer = runtime.observer
    return nullcontext() if observer is None else observer.processing(system, destination, carrier, message_id)


def observer_of(settings: Settings, metrics: Metrics) -> Observer | None:
    """The observer of an app, or None if nothing is enabled."""
    provider, meters = trace.get_tracer_provider(), otel_metrics.get_meter_provider()
    tracer = None if isinstance(provider, trace.ProxyTracerProvider) else provider.get_tracer("servey")
    # The API has no public name for the meter provider of a process without an SDK.
    has_meter = type(meters).__name__ != "_ProxyMeterProvider"
    durations: dict[str, otel_metrics.Histogram] = {}
    if has_meter:
        meter = meters.get_meter("servey")
        metrics.forward = _forwarding(meter)
        durations = {name: _histogram_of(meter, name) for name in (SEND_DURATION, PROCESS_DURATION)}
    writer = installed_writer() if settings.access_log else None
    if writer is None and tracer is None and not has_meter and not settings.metrics:
        return None
    return Observer(metrics, writer, tracer, durations)


def _histogram_of(meter: otel_metrics.Meter, name: str, help: str = "") -> otel_metrics.Histogram:
    # The default boundaries of the SDK are for milliseconds.
    return meter.create_histogram(name, unit="s", description=help, explicit_bucket_boundaries_advisory=SECONDS)


def _forwarding(meter: otel_metrics.Meter) -> Callable[[Metric, float, Labels], None]:
    """Export metrics to OpenTelemetry: `servey_jobs_total` as `servey.jobs`, its label `queue` as `servey.queue`."""
    instruments: dict[Metric, Callable[[float, Mapping[str, str | int]], None]] = {}

    def forward(metric: Metric, amount: float, labels: Labels) -> None:
        instrument = instruments.get(metric)
        if instrument is None:
            name = metric.name.removesuffix("_total").removesuffix("_seconds").replace("_", ".")
            made: Any = (
                _histogram_of(meter, name, metric.help)
                if metric.kind == "histogram"
                else meter.create_counter(name, unit=metric.unit, description=metric.help)
            )
            instrument = instruments[metric] = made.record if metric.kind == "histogram" else made.add
        instrument(amount, _attributes(metric, labels))

    return forward


def _attributes(metric: Metric, labels: Labels) -> dict[str, str | int]:
    named = zip(metric.labels, labels, strict=True)
    if metric is not HTTP_REQUESTS:
        return {f"servey.{name}": value for name, value in named}
    return {_HTTP_ATTRIBUTES[name]: int(value) if name == "status" else value for name, value in named}


def status_of(error: BaseException) -> int:
    """The HTTP status of an exception; 499 if the client left."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CLIENT_LEFT
    if isinstance(error, ActionError):
        return error.status
    if isinstance(error, HTTPException):
        return error.status_code
    return 422 if isinstance(error, RequestValidationError) else 500


@contextmanager
def _failing(span: Span) -> Iterator[None]:
    """Mark the span of a failed call; a client error is not a failure."""
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


def _with_id(attributes: Mapping[str, str], message_id: str | None) -> Mapping[str, str]:
    return attributes if message_id is None else {**attributes, "messaging.message.id": message_id}
