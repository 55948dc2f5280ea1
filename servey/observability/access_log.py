"""The access log: its fields, and one line for each HTTP request and each call over another transport."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from servey.core.context import _record
from servey.observability.logs import LogWriter

if TYPE_CHECKING:
    from servey.observability.recorder import Recording

_MAX_ACTIONS = 10


class RequestRecord:
    """What is recorded about one request or call so far."""

    __slots__ = (
        "actions",
        "answered",
        "recording",
        "request_id",
        "scope",
        "status",
        "subject",
        "trace_id",
        "transport",
    )

    def __init__(self, request_id: str, transport: str | None = None, scope: Scope | None = None) -> None:
        self.request_id: str = request_id
        self.transport: str | None = transport
        self.scope: Scope | None = scope
        self.actions: list[str] = []
        self.subject: str | None = None
        self.status: int | None = None
        self.answered: float | None = None
        self.trace_id: str | None = None
        self.recording: Recording | None = None

    def add(self, action: str) -> None:
        """Record that an action was called."""
        if len(self.actions) < _MAX_ACTIONS and action not in self.actions:
            self.actions.append(action)

    def fields(self) -> dict[str, Any]:
        """The fields for a log line."""
        actions = self.actions or routed_actions(self.scope)
        fields = {
            "request_id": self.request_id,
            "transport": self.transport or ("rest" if actions else "http"),
            "action": ",".join(actions) or None,
            "subject": self.subject,
            "trace_id": self.trace_id,
        }
        return {name: value for name, value in fields.items() if value is not None}


def write_access_line(
    writer: LogWriter, record: RequestRecord, message: str, *, status: int, seconds: float, **more: Any
) -> None:
    """Write the line of a request or call that took ``seconds``; ``more`` are fields of one transport only."""
    writer.line(
        {
            "ts": time.time(),
            "level": "INFO",
            "logger": "servey.access",
            "msg": message,
            **record.fields(),
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            **more,
        }
    )


def routed_actions(scope: Scope | None) -> list[str]:
    """The name of the action whose REST route serves a request, if any."""
    served = getattr(scope.get("route"), "served", None) if scope is not None else None
    return [served.action.name] if served is not None else []


def current_recording() -> Recording | None:
    """Return the recording of the current request or job, if it is recorded."""
    record = _record.get(None)
    found: Recording | None = None if record is None else record.recording
    return found
