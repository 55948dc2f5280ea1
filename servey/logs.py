"""Logs as JSON, an object a line, written by a thread of their own: whoever logs does not wait for a disk or a pipe.

What is in a line was chosen: names, ids, numbers. Tokens, bodies and query strings are never among it.
"""

from __future__ import annotations

import atexit
import logging
import queue
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json

from servey.context import _current, _note

FIELDS = (
    "request_id",
    "action",
    "transport",
    "subject",
    "channel",
    "job",
    "status",
    "duration_ms",
    "trace_id",
    "span_id",
)
MAX_WAITING_LINES = 10_000
_MAX_BATCH = 500


class LogWriter(logging.Handler):
    """Takes log records and ready-made lines, and writes both as JSON in a thread of its own.

    Over 10,000 lines that wait, more are dropped and their number is told.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream if stream is not None else sys.stderr
        self._waiting: queue.SimpleQueue[Mapping[str, Any] | threading.Event | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def line(self, fields: Mapping[str, Any]) -> None:
        """Has one line written; ``ts`` in it is a time in seconds."""
        if self._waiting.qsize() >= MAX_WAITING_LINES:
            self._dropped += 1
        else:
            self._waiting.put(fields)

    def emit(self, record: logging.LogRecord) -> None:
        """Has a log record written, with what is known of the call that it was made in."""
        try:
            self.line(fields_of(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Comes back when everything until now is written."""
        if self._thread.is_alive():
            written = threading.Event()
            self._waiting.put(written)
            written.wait(5)

    def close(self) -> None:
        """Writes what waits, and ends."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join(5)
        super().close()

    def _write(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < _MAX_BATCH:
                try:
                    batch.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            lines = [_json(each) for each in batch if isinstance(each, Mapping)]
            if self._dropped:
                text = f"{self._dropped} lines of the log were dropped; they came faster than they can be written"
                lines.append(_json({"ts": datetime.now(UTC).timestamp(), "level": "WARNING", "msg": text}))
                self._dropped = 0
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads it any more; there is no other place to say so
            for each in batch:
                if isinstance(each, threading.Event):
                    each.set()
            if None in batch:
                return


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says of a log record."""
    fields: dict[str, Any] = {
        "ts": record.created,
        "level": record.levelname,
        "logger": record.name,
        "msg": record.getMessage(),
    }
    note, context = _note.get(None), _current.get(None)
    if note is not None:
        fields |= note.fields()
    if context is not None:
        fields |= {"request_id": context.request_id, "transport": context.via}
    fields |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
    if record.exc_info and record.exc_info[0] is not None:
        fields["error"] = record.exc_info[0].__name__
        fields["trace"] = _formatter.formatException(record.exc_info)
    return fields


_formatter = logging.Formatter()


def _json(fields: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(fields["ts"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return to_json({**fields, "ts": when}, fallback=str, inf_nan_mode="null").decode() + "\n"


_installed: LogWriter | None = None


def log_as_json(level: str) -> LogWriter:
    """Has all loggers of this process write JSON lines to standard error, from ``level`` on."""
    global _installed
    if _installed is None:
        _installed = LogWriter()
    root = logging.getLogger()
    root.handlers[:] = [_installed]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "servey"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    return _installed


def installed_writer() -> LogWriter | None:
    """Where this process writes JSON lines; None where it does not."""
    return _installed
