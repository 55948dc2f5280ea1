"""Records the last calls of a process for the console: their steps, their errors and what they sent.

An app without a console has no recorder, and its calls only see that there is none.
"""

from __future__ import annotations

import itertools
import time
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servey.observability.redaction import hidden_params, shown_params

if TYPE_CHECKING:
    from servey.core.actions import Action
    from servey.core.context import Context

MOST_CALLS, MOST_ACTIONS, MOST_SPANS, MOST_SENT = 200, 20, 50, 50
_MOST_PARAMS, _MOST_TEXT, _MOST_TRACEBACK = 1000, 300, 10_000
"""How many characters of one text are kept."""
_MOST_VALUES = 200
"""How many values of parameters are looked at: this runs on the event loop."""


@dataclass(frozen=True)
class Step:
    """One step of a call. Units: seconds; ``began`` since the beginning of the recorded call."""

    name: str
    began: float
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class ActionCall:
    """One call of an action. Shape: ``params`` is JSON without secrets; ``is_cached`` if the function did not run."""

    action: str
    steps: Sequence[Step]
    params: str
    is_cached: bool
    subject: str | None


@dataclass(frozen=True)
class RecordedCall:
    """One request, job, run of a schedule or delivery of a webhook.

    Shape: ``request_id`` is the same from a request to the jobs and webhooks that come of it; ``spans`` are calls of other
    systems, such as SQL, as OpenTelemetry reports them; ``sent`` are the jobs and events of the call, as kind and name.
    Units: ``began_at`` in seconds since 1970; ``seconds``.
    """

    number: int
    request_id: str
    trace_id: str | None
    transport: str
    title: str
    status: int
    began_at: float
    seconds: float
    actions: Sequence[ActionCall] = ()
    spans: Sequence[Step] = ()
    sent: Sequence[tuple[str, str]] = ()
    job_id: str | None = None
    error: str | None = None
    traceback: str | None = None


@dataclass(eq=False)
class _Running:
    """A call of an action that is being recorded."""

    action: Action
    context: Context
    params: Mapping[str, Any] | None = None
    steps: list[Step] = field(default_factory=list)
    step: tuple[str, float] | None = None

    def enter(self, name: str, now: float) -> None:
        if self.step is None or self.step[0] != name:
            self.leave(now)
            self.step = name, now

    def leave(self, now: float) -> None:
        if self.step is not None:
            name, began = self.step
            self.steps.append(Step(name, began, now - began))
            self.step = None

    def ended(self, now: float) -> ActionCall:
        self.leave(now)
        params = self.params
        subject, is_cached = self.context.subject_id, self.context.cached is not None
        text = "" if params is None else _shown(self.action, params)
        return ActionCall(self.action.name, tuple(self.steps), text, is_cached, subject)


def _shown(action: Action, params: Mapping[str, Any]) -> str:
    try:
        text = shown_params(action, params, _MOST_VALUES)
    except Exception:  # the input of a client in any shape, e.g. nested too deeply
        text = hidden_params(params)
    return _printable(text if len(text) <= _MOST_PARAMS else text[:_MOST_PARAMS] + " …")


class Recording:
    """What is recorded of a call while it runs. It may be used in several tasks and threads."""

    def __init__(self, *, has_steps: bool) -> None:
        self.has_steps = has_steps
        self.began_at: float = time.time()
        self.error: BaseException | None = None
        self.job_id: str | None = None
        self._began = time.perf_counter()
        self._running: dict[Context, _Running] = {}
        self._spans: list[Step] = []
        self._sent: list[tuple[str, str]] = []

    def enter(self, action: Action, context: Context, step: str, params: Mapping[str, Any] | None) -> None:
        """Begin a step of a call of an action, which ends the step before it."""
        found = self._running.get(context)
        if found is None:
            if not self.has_steps or len(self._running) >= MOST_ACTIONS:
                return
            found = self._running[context] = _Running(action, context)
        if params is not None:
            found.params = params
        found.enter(step, self._now())

    @property
    def transport(self) -> str | None:
        """The transport of the first call of an action, or None if there is none so far."""
        return next((each.via for each in list(self._running)), None)

    def leave(self, context: Context) -> None:
        """End the current step of a call."""
        found = self._running.get(context)
        if found is not None:
            found.leave(self._now())

    def add_span(self, name: str, began_at: float, ended_at: float, detail: str) -> None:
        """Add a call of another system. Units: seconds since 1970."""
        if len(self._spans) < MOST_SPANS:
            self._spans.append(Step(name, began_at - self.began_at, ended_at - began_at, detail[:_MOST_TEXT]))

    def add_sent(self, kind: str, name: str) -> None:
        """Add a job or an event that the call has sent."""
        if len(self._sent) < MOST_SENT:
            self._sent.append((kind, name))

    def ended(self, number: int, *, shows_errors: bool, **known: Any) -> RecordedCall:
        """Return what was recorded. With ``shows_errors`` it has the traceback of an error, else only its class."""
        now, error = self._now(), self.error
        text = trace = None
        if error is not None:
            text = _text_of(error) if shows_errors else type(error).__name__
            trace = _traceback_of(error) if shows_errors else None
        return RecordedCall(
            number=number,
            began_at=self.began_at,
            seconds=now,
            actions=tuple(each.ended(now) for each in list(self._running.values())),
            spans=tuple(self._spans),
            sent=tuple(self._sent),
            job_id=self.job_id,
            error=text,
            traceback=trace,
            **known,
        )

    def _now(self) -> float:
        return time.perf_counter() - self._began


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)[:_MOST_TEXT]
    except Exception as failure:  # a part of the app has written it
        text = f"(its text raises {type(failure).__name__})"
    return _printable(f"{type(error).__name__}: {text}")


def _traceback_of(error: BaseException) -> str:
    text = _printable("".join(traceback.format_exception(error)))
    return text if len(text) <= _MOST_TRACEBACK else "…\n" + text[-_MOST_TRACEBACK:]


def _printable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which a page cannot contain."""
    return text.encode("utf-8", "replace").decode()


class Recorder:
    """The last calls of a process.

    Shape: ``is_followed`` is whether steps are recorded, for which a request must take the generic path; in development
    the first visitor of the console sets it. Calls that fail with a status of 500 or more are recorded in any case.
    Units: ``interval`` is how many seconds pass between two calls that are recorded; 0 records all of them.
    """

    def __init__(self, *, interval: float, shows_errors: bool, is_followed: bool) -> None:
        self.is_followed = is_followed
        self.calls: deque[RecordedCall] = deque(maxlen=MOST_CALLS)
        self.count: int = 0
        self._interval = interval
        self._shows_errors = shows_errors
        self._next = 0.0
        self._numbers = itertools.count(1)

    def begin(self) -> Recording | None:
        """Return a recording for a call that begins, or None if this call is not one of the sample."""
        if self._interval and time.monotonic() < self._next:
            return None
        return Recording(has_steps=self.is_followed)

    def end(
        self,
        recording: Recording | None,
        *,
        request_id: str,
        trace_id: str | None,
        transport: str,
        title: str,
        status: int,
        seconds: float,
    ) -> None:
        """Keep a call that has ended; ``recording`` is None if it is not one of the sample."""
        known: dict[str, Any] = {"request_id": request_id, "trace_id": trace_id, "transport": transport, "title": title}
        if recording is not None:
            made = recording.ended(next(self._numbers), shows_errors=self._shows_errors, status=status, **known)
            self._next = time.monotonic() + self._interval
        elif status >= 500:
            made = RecordedCall(
                number=next(self._numbers), status=status, began_at=time.time() - seconds, seconds=seconds, **known
            )
        else:
            return
        self.count += 1
        self.calls.append(made)
