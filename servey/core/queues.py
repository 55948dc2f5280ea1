"""Jobs: deferred calls, their retries, their state, and the queue that holds them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from random import random
from typing import Any, Literal, Protocol, TypeAlias, get_args

from servey.core.access import StoredAuthorization
from servey.core.errors import ConfigError, ServeyError

MOST_DEAD = 10_000
"""The size limit of the dead-letter list, and of each other list of ended jobs; the oldest job is dropped first."""
MOST_TRIES_KEPT = 20
"""How many tries of a job are kept in its history; the oldest is dropped first."""
State: TypeAlias = Literal["queued", "running", "done", "failed", "dead", "cancelled"]
"""``failed``: the only try failed. ``dead``: every retry failed; kept until it is retried or dropped. ``cancelled``:
somebody cancelled it; if it was running, it may have done its work nevertheless."""
STATES: tuple[State, ...] = get_args(State)
UNFINISHED: frozenset[State] = frozenset(("queued", "running"))
GIVEN_UP: frozenset[State] = frozenset(("failed", "dead"))
LISTED: frozenset[State] = UNFINISHED | GIVEN_UP
"""What `Queue.jobs` lists by default."""

PER_CALLER = "caller"
_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_RATE = re.compile(r"([1-9]\d{0,4})\s*/\s*(second|minute|hour|day)")

DEFAULT_QUEUE = "default"
HIGHEST_PRIORITY = 100
_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Retry:
    """How a failed job is retried.

    Units: ``backoff`` and ``max_delay`` in seconds; the delay grows by ``factor`` with each retry.
    """

    max_tries: int = 5
    backoff: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0

    def __post_init__(self) -> None:
        seconds = (self.backoff, self.factor, self.max_delay)
        numbers: tuple[Any, ...] = (self.max_tries, *seconds)
        are_numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers)
        if (
            not are_numbers
            or not isinstance(self.max_tries, int)
            or self.max_tries < 1
            or self.factor < 1
            or min(seconds) < 0
            or not all(map(isfinite, seconds))
        ):
            raise ConfigError(
                f"{self!r}: use max_tries >= 1, factor >= 1, and seconds that are finite and not negative"
            )

    def wait_after(self, tries: int) -> float:
        """Return the delay in seconds after try number ``tries``, with 10 % jitter."""
        try:
            wait = min(self.backoff * self.factor ** min(tries - 1, 64), self.max_delay)
        except OverflowError:
            wait = self.max_delay
        return wait * (0.9 + 0.2 * random())


ONE_TRY = Retry(max_tries=1)
LONGEST_DELAY = 100 * 366 * 86_400
"""The longest delay of a job, in seconds."""


def check_delay(delay: float, what: str = "delay of a job") -> None:
    """Check the delay of a job. Errors: ServeyError unless it is a number of seconds from 0 to 100 years."""
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= LONGEST_DELAY:
        raise ServeyError(f"the {what} is {delay!r}; use a number of seconds, 0 or more, and at most 100 years")


def queue_problem(name: Any) -> str | None:
    """Return what is wrong with the name of a queue, or None."""
    if isinstance(name, str) and _QUEUE_NAME.fullmatch(name):
        return None
    return f"{name!r} cannot name a queue; use up to 64 letters, digits, '-', '_' and '.', e.g. 'mail'"


@dataclass(frozen=True)
class Limit:
    """Limits the jobs of an action over all workers. Jobs over the limit wait; they do not fail.

    Shape: at most ``concurrent`` jobs run at once; at most as many start as ``rate`` allows, e.g. ``"100/minute"``, in any
    period of that length. ``per`` is the name of a parameter, or ``"caller"``: then each value has a limit of its own.
    Errors: ConfigError for values that cannot be a limit.
    """

    concurrent: int | None = None
    per: str | None = None
    rate: str | None = None

    def __post_init__(self) -> None:
        count: Any = self.concurrent
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise ConfigError(f"{self!r}: concurrent must be 1 or more")
        if self.rate is not None and not (isinstance(self.rate, str) and _RATE.fullmatch(self.rate)):
            raise ConfigError(f"{self!r}: write the rate as 'N/second', 'N/minute', 'N/hour' or 'N/day', N up to 99999")
        if self.concurrent is None and self.rate is None:
            raise ConfigError(f"{self!r}: give concurrent, rate, or both")
        if self.per is not None and not (isinstance(self.per, str) and self.per):
            raise ConfigError(f"{self!r}: per must be the name of a parameter, or 'caller'")

    @property
    def starts(self) -> tuple[int, float] | None:
        """How many jobs may start in how many seconds, or None without a rate."""
        if self.rate is None:
            return None
        found = _RATE.fullmatch(self.rate)
        assert found is not None
        return int(found[1]), _SECONDS[found[2]]


@dataclass(frozen=True)
class JobLimit:
    """The limit of one job; all jobs with the same ``key`` share it.

    Shape: at most ``concurrent`` run at once, and at most ``starts`` begin in ``seconds``; None is no limit.
    """

    key: str
    concurrent: int | None = None
    starts: int | None = None
    seconds: float = 0


@dataclass(frozen=True)
class RequestPart:
    """What a job keeps of the HTTP request that it was made from: what the action and its dependencies read.

    Shape: ``headers`` are latin-1, in lower case; ``query`` is a query string; ``path`` the path parameters.
    """

    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""
    path: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One deferred call of an action, or one deferred webhook delivery, on behalf of its enqueuer.

    Shape: ``action`` is an action's name, or ``channel`` a webhook channel's; ``params`` is JSON by wire name, or the
    webhook's event; with ``tagged`` it is read by `servey.core.payloads`. ``authorization`` is the enqueuer's, or
    None for the anonymous; ``owner`` is what the ``job_owner`` of a host says. ``trusted`` jobs belong to the app
    itself and skip access control. ``request`` is None unless the job was made by ``Prefer: respond-async``. Of the
    jobs in one ``queue``, those of the highest ``priority`` (-100 to 100) run first. ``unique_for`` is how long the
    job's key is held after the job has ended; None is as long as its state.
    Units: ``enqueued_at`` in seconds since 1970; ``unique_for`` in seconds.
    """

    id: str
    action: str
    params: Any = field(repr=False)
    channel: str | None = None
    authorization: StoredAuthorization | None = None
    trusted: bool = False
    request_id: str = ""
    traceparent: str | None = None
    retry: Retry = field(default_factory=Retry)
    enqueued_at: float = 0
    tagged: bool = False
    request: RequestPart | None = field(default=None, repr=False)
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    limit: JobLimit | None = None
    unique_for: float | None = None
    owner: str | None = None

    @property
    def title(self) -> str:
        """A readable name."""
        return self.action if self.channel is None else f"webhook {self.channel}"


@dataclass
class CancelRequest:
    """Whether somebody has cancelled a running job. Its queue sets it; its action reads it, in any thread.

    Shape: ``interrupt`` cancels the task in which the action runs; None if the action can only be told.
    """

    is_set: bool = False
    interrupt: Callable[[], object] | None = None

    def set(self) -> None:
        """Cancel the job; call it on the job's event loop."""
        self.is_set = True
        if self.interrupt is not None:
            self.interrupt()


@dataclass(frozen=True)
class Try:
    """One try of a job.

    Shape: ``worker`` is the process that ran it, as ``host:pid``; ``error`` is None if the try succeeded.
    Units: seconds since 1970.
    """

    number: int
    worker: str
    started_at: float
    ended_at: float
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class JobState:
    """The state of a job.

    Shape: ``history`` has the last 20 tries, oldest first. ``worker`` is the process that runs the job, as ``host:pid``.
    Units: ``due_at``, ``started_at`` and ``ended_at`` in seconds since 1970; the latter two are of the last try.
    """

    job: Job
    state: State = "queued"
    tries: int = 0
    due_at: float = 0
    progress: Mapping[str, Any] | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None
    history: tuple[Try, ...] = ()
    worker: str | None = None
    started_at: float | None = None
    ended_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that the enqueuer sees."""
        return {
            "id": self.job.id,
            "action": self.job.title,
            "state": self.state,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
        }


def first_of_each_state(found: Iterable[JobState], most: int | None) -> list[JobState]:
    """Return jobs ordered by due time, at most ``most`` of each state: the first that have not ended, the last that have."""
    by_state: dict[State, list[JobState]] = {}
    for each in sorted(found, key=lambda each: each.due_at):
        by_state.setdefault(each.state, []).append(each)
    if most is not None:
        for state, jobs in by_state.items():
            by_state[state] = jobs[:most] if state in UNFINISHED else jobs[max(0, len(jobs) - most) :]
    return sorted((each for jobs in by_state.values() for each in jobs), key=lambda each: each.due_at)


@dataclass(frozen=True)
class QueueState:
    """One queue: whether workers take jobs from it, and how many wait and run.

    Units: ``due_at``, of the job that was or will be due first, in seconds since 1970; None if no job waits.
    """

    name: str
    paused: bool = False
    queued: int = 0
    running: int = 0
    due_at: float | None = None


@dataclass(frozen=True)
class ActionJobs:
    """The jobs of one action in one queue; ``dead`` counts those that were given up.

    Units: ``due_at``, of the job that was or will be due first, in seconds since 1970; None if no job waits.
    """

    queue: str
    action: str
    queued: int = 0
    running: int = 0
    dead: int = 0
    due_at: float | None = None


@dataclass(frozen=True)
class Depth:
    """The size of all queues together. Units: ``due_at``, of the job that is due first, in seconds since 1970."""

    queued: int
    dead: int
    due_at: float | None


@dataclass(frozen=True)
class JobEvent:
    """What happened to a job, for those who watch; without parameters and results, so they see no data of users.

    Shape: ``event`` is ``job.`` and one of queued, started, progressed, succeeded, retried, failed, dead, cancelled;
    ``tries`` counts the tries that have begun. The last four are None unless the event has them.
    Units: ``at`` and ``due_at`` in seconds since 1970.
    """

    event: str
    id: str
    action: str
    queue: str
    at: float
    tries: int = 0
    worker: str | None = None
    due_at: float | None = None
    error: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None


class Queue(Protocol):
    """Holds jobs for workers, in all named queues of an app (``action(queue="mail")``), and records their state."""

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Add a job; return its id, or the id of an earlier job of the same action with the same ``key``.

        A key is held while its job waits or runs, and for ``job.unique_for`` seconds after it has ended.
        """
        ...

    async def state(self, job_id: str) -> JobState | None:
        """Return the state of a job, or None if it is unknown or expired."""
        ...

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Record the progress of a running job."""
        ...

    async def jobs(
        self,
        *,
        states: Collection[State] = LISTED,
        action: str | None = None,
        queue: str | None = None,
        most: int | None = None,
    ) -> list[JobState]:
        """Return the jobs in some states, ordered by due time; of one action or one queue if given.

        ``action`` is a `Job.title`. With ``most``, at most so many of each state are returned: of queued and running jobs
        those that are due first, of the others the latest. Of the jobs that ended ``done``, ``failed`` or ``cancelled``, the
        last 10,000 are known, for as long as their state is kept.
        """
        ...

    async def queues(self) -> list[QueueState]:
        """Return every queue that has held a job or is paused, ordered by name."""
        ...

    async def actions(self) -> list[ActionJobs]:
        """Return the jobs of each action in each queue that has held some, ordered by queue and action."""
        ...

    async def depth(self) -> Depth:
        """Return the size of all queues together."""
        ...

    def events(self) -> AsyncIterator[JobEvent]:
        """Yield what happens to jobs from now on, in any process. Events are lost while the queue does not answer."""
        ...

    async def retry(self, job_id: str) -> bool:
        """Enqueue a failed, dead or cancelled job again; return False if there is no such job."""
        ...

    async def drop(self, job_id: str) -> bool:
        """Delete a job that is not running; return False if there is no such job."""
        ...

    async def cancel(self, job_id: str) -> bool:
        """Cancel a queued or running job; return False if there is no such job.

        A queued job never starts. A running ``async`` action is cancelled within a second, on whichever worker it runs; a
        plain ``def`` reads `Context.cancelled`. Either way the job ends as ``cancelled`` and is not tried again.
        """
        ...

    async def pause(self, queue: str) -> None:
        """Let workers take no more jobs from a queue until it is resumed, also after restarts. Jobs that run go on."""
        ...

    async def resume(self, queue: str) -> None:
        """Let workers take jobs from a paused queue again."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
