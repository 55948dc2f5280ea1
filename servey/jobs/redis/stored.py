"""Jobs as Redis stores them: a hash for each job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from servey.core.errors import ConfigError
from servey.core.queues import MOST_TRIES_KEPT, Job, JobLimit, JobState, Try

UNREADABLE: Mapping[str, Any] = {"detail": "The job cannot be read", "code": "unreadable"}
_JOBS: TypeAdapter[Job] = TypeAdapter(Job)
_TRIES: TypeAdapter[tuple[Try, ...]] = TypeAdapter(tuple[Try, ...])


def body_of(job: Job) -> bytes:
    """Return a job as JSON without its parameters, which are stored apart and deleted when it is done."""
    return to_json(replace(job, params=None))


def bounds_of(limit: JobLimit) -> str:
    """Return the numbers of a limit as its scripts read them: jobs at once, starts, and milliseconds; 0 is no limit."""
    return f"{limit.concurrent or 0} {limit.starts or 0} {round(limit.seconds * 1000)}"


def job_of(job_id: str, body: bytes, params: bytes) -> Job:
    """Read a job. Errors: ValueError, ConfigError."""
    job = replace(_JOBS.validate_json(body), params=from_json(params))
    if job.id != job_id:
        raise ValueError(f"it has the id {job.id[:100]!r}")
    return job


def history_of(text: bytes) -> tuple[Try, ...]:
    """Read the tries of a job. Errors: ValueError."""
    return _TRIES.validate_json(text) if text else ()


def history_text(history: tuple[Try, ...]) -> bytes:
    """Return the last tries of a job as JSON."""
    return to_json(history[-MOST_TRIES_KEPT:])


def state_of(job_id: str, fields: Any) -> JobState | None:
    """Read the hash of a job, or None if it is empty. A job that cannot be read is dead."""
    if not isinstance(fields, dict) or b"state" not in fields:
        return None
    try:
        return JobState(
            job_of(job_id, fields[b"job"], fields.get(b"params") or b"null"),
            cast(Any, fields[b"state"].decode()),
            int(fields[b"tries"]),
            int(fields[b"due_at"]) / 1000,
            from_json(fields.get(b"progress") or b"null"),
            from_json(fields.get(b"result") or b"null"),
            from_json(fields.get(b"error") or b"null"),
            history_of(fields.get(b"history", b"")),
            fields[b"worker"].decode() if b"worker" in fields else None,
            _seconds(fields.get(b"started_at")),
            _seconds(fields.get(b"ended_at")),
        )
    except (ValueError, KeyError, ConfigError):
        return JobState(Job(job_id, "(unreadable)", None, trusted=True), "dead", error=UNREADABLE)


def _seconds(milliseconds: bytes | None) -> float | None:
    return None if milliseconds is None else int(milliseconds) / 1000
