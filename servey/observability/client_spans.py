"""Passes the calls of other systems that OpenTelemetry instruments, such as SQL, to the recording of the current call."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from servey.observability.access_log import current_recording

_NANOSECONDS = 1e9
_QUERY = ("db.query.text", "db.statement")
"""The attribute of a query's text, and its name before OpenTelemetry's semantic conventions 1.27."""
_followed: WeakSet[Any] = WeakSet()


def follow_client_spans() -> None:
    """Follow the spans of the process's tracer provider, if it is that of an SDK."""
    provider = trace.get_tracer_provider()
    add = getattr(provider, "add_span_processor", None)
    if add is not None and provider not in _followed:
        _followed.add(provider)
        add(_ClientSpans())


class _ClientSpans:
    """A span processor of OpenTelemetry's SDK; it does not inherit from one, because the SDK need not be installed."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Do nothing."""

    def _on_ending(self, span: Any) -> None:
        """Do nothing."""

    def on_end(self, span: Any) -> None:
        """Add a span to the recording of the call that it belongs to."""
        recording = current_recording()
        if recording is None or span.kind is not SpanKind.CLIENT or span.start_time is None or span.end_time is None:
            return
        text = next((str(span.attributes[name]) for name in _QUERY if name in (span.attributes or {})), "")
        recording.add_span(span.name, span.start_time / _NANOSECONDS, span.end_time / _NANOSECONDS, text)

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True: nothing waits to be exported."""
        return True
