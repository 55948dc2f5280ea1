"""JSON logs, one object a line, written by a separate thread, so logging never waits for a disk or a pipe.

A line has names, ids and numbers, never tokens, bodies or query strings.
"""

from __future__ import annotations

import atexit
import io
import logging
import queue
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json

from servey.core.context import _current, _record

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
    """A logging handler that writes log records and access lines as JSON in a separate thread.

    It queues up to 10,000 lines; further lines are dropped, and their number is logged.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream if stream is not None else sys.stderr
        self._queue: queue.SimpleQueue[Mapping[str, Any] | threading.Event | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def line(self, fields: Mapping[str, Any]) -> None:
        """Queue one line; its ``ts`` is a time in seconds."""
        if self._queue.qsize() >= MAX_WAITING_LINES:
            self._dropped += 1
        else:
            self._queue.put(fields)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a log record, with the fields of the current call."""
        try:
            self.line(fields_of(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until every queued line is written."""
        if self._thread.is_alive():
            written = threading.Event()
            self._queue.put(written)
            written.wait(5)

    def close(self) -> None:
        """Write the queued lines and stop the thread."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(5)
        super().close()

    def _put(self, text: str) -> None:
        self._stream.flush()
        if not isinstance(self._stream, io.TextIOWrapper):
            self._stream.write(text)
            self._stream.flush()
            return
        # JSON is UTF-8 whatever the locale; a buffer would write again later what it could not write now.
        file: Any = getattr(self._stream.buffer, "raw", self._stream.buffer)
        left = memoryview(text.encode())
        while left:
            written = file.write(left)
            if written is None:
                raise BlockingIOError
            left = left[written:]

    def _write(self) -> None:
        is_cut = False  # whether the last line may lack its end
        while True:
            batch = [self._queue.get()]
            while len(batch) < _MAX_BATCH:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            lines = [_line_of(each) for each in batch if isinstance(each, Mapping)]
            told = self._dropped
            if told:
                text = f"{told} log lines were dropped, because they could not be written"
                lines.append(_json({"ts": datetime.now(UTC).timestamp(), "level": "WARNING", "msg": text}))
            if is_cut:
                lines.insert(0, "\n")
            try:
                self._put("".join(lines))
                self._dropped -= told
                is_cut = False
            except Exception:
                # The disk is full or the stream is closed, and there is no other place to report that.
                self._dropped += sum(isinstance(each, Mapping) for each in batch)
                is_cut = True
            for each in batch:
                if isinstance(each, threading.Event):
                    each.set()
            if None in batch:
                return


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a log record's line."""
    fields: dict[str, Any] = {
        "ts": record.created,
        "level": record.levelname,
        "logger": record.name,
        "msg": record.getMessage(),
    }
    record_of_request, context = _record.get(None), _current.get(None)
    if record_of_request is not None:
        fields |= record_of_request.fields()
    if context is not None:
        fields |= {"request_id": context.request_id, "transport": context.via}
    fields |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
    if record.exc_info and record.exc_info[0] is not None:
        fields["error"] = record.exc_info[0].__name__
        fields["trace"] = _formatter.formatException(record.exc_info)
    return fields


_formatter = logging.Formatter()


def _line_of(fields: Mapping[str, Any]) -> str:
    try:
        return _json(fields)
    except Exception as error:
        # One field that cannot be written must not end the thread that writes all lines.
        text = f"a log line could not be written: {type(error).__name__}"
        return _json({"ts": datetime.now(UTC).timestamp(), "level": "ERROR", "msg": text})


def _json(fields: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(fields["ts"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return to_json({**fields, "ts": when}, fallback=str, inf_nan_mode="null").decode() + "\n"


_installed: LogWriter | None = None


def log_as_json(level: str) -> LogWriter:
    """Write the logs of all loggers to standard error as JSON lines, from ``level`` on."""
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
    """The handler that writes JSON lines, or None if this process does not use it."""
    return _installed
