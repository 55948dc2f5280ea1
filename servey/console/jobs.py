"""What the console shows of jobs and schedules, and the changes that an operator can make."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from servey.calls.enqueue import enqueue
from servey.core.channels import WebhookEventChannel
from servey.core.errors import NotFound
from servey.core.queues import GIVEN_UP, LISTED, JobState, QueueState, State
from servey.jobs.errors import text_of_error
from servey.jobs.runs import PausesSchedules, RecordsRuns, Run
from servey.jobs.schedule import schedules_of, trigger_text
from servey.jobs.workers import KnowsWorkers, WorkerState
from servey.observability import redaction
from servey.observability.metrics import SCHEDULED
from servey.runtime.runtime import Runtime

PER_PAGE = 100
MOST_READ = 1000
"""How many jobs of each state a page reads, however many the queue has."""
MOST_CHARTED = 250
"""How many jobs of each state the charts count."""
MOST_CHANGED = 10_000
MOST_OF_REASON = 200
"""How many characters of an error distinguish it, since its link and the answers to changes contain them."""
MINUTES = 30
_RUNNING: tuple[State, ...] = ("running",)
_ENDED: tuple[State, ...] = ("done", "failed", "dead")
STATES: tuple[State, ...] = ("queued", "running", "failed", "dead", "cancelled", "done")
ALL_GIVEN_UP = "given up"
"""The filter for failed and dead jobs."""
RETRIED: frozenset[State] = frozenset((*GIVEN_UP, "cancelled"))
CHANGES = {"retry": "enqueued again", "drop": "dropped", "cancel": "cancelled"}


@dataclass(frozen=True)
class Listing:
    """One page of the jobs that fit the filters.

    Shape: ``is_cut`` if the queue has more jobs than were read; ``given_up`` counts dead and failed jobs, ``reasons`` are
    the beginnings of the most frequent errors of the matching jobs, with their numbers.
    """

    shown: Sequence[JobState]
    matching: int
    page: int
    pages: int
    queues: Sequence[QueueState]
    given_up: int
    is_cut: bool
    actions: Sequence[str]
    reasons: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class ScheduleRow:
    """A schedule.

    Shape: ``is_paused`` is None if it cannot be paused; ``runs`` are the last ones in all processes, the latest first, or
    None if they are not known; ``done`` and ``failed`` are counted in this process.
    Units: ``next_at`` in seconds since 1970.
    """

    name: str
    action: str
    trigger: str
    next_at: float
    done: int
    failed: int
    is_paused: bool | None
    runs: Sequence[Run] | None


@dataclass(frozen=True)
class Minute:
    """How many jobs ended in one minute."""

    done: int = 0
    failed: int = 0


@dataclass(frozen=True)
class WorkerRow:
    """A worker, as ``host:pid``, and the jobs that it runs. Shape: ``state`` is None if it was not heard of lately."""

    name: str
    state: WorkerState | None
    running: Sequence[JobState]


@dataclass(frozen=True)
class Load:
    """What workers do.

    Shape: ``minutes`` is oldest first; ``tries`` counts the last jobs that took 1, 2, 3, 4, and 5 or more tries. With
    ``is_cut`` more jobs have ended than are counted.
    """

    workers: Sequence[WorkerRow]
    is_cut: bool
    minutes: Sequence[Minute]
    tries: Sequence[int]

    @property
    def highest(self) -> int:
        """The number of jobs in the busiest minute, at least 1."""
        return max(1, *(each.done + each.failed for each in self.minutes))


async def matching(runtime: Runtime, query: Mapping[str, str], most: int) -> tuple[list[JobState], bool]:
    """Return the jobs that fit the filters ``state``, ``action``, ``queue`` and ``q`` of a query string or form, and
    whether there may be more: at most ``most`` of each state are read. Errors: Overloaded if the queue does not answer.
    """
    state, text = query.get("state", ""), query.get("q", "").lower()
    wanted: Collection[State] = LISTED
    if state:
        wanted = GIVEN_UP if state == ALL_GIVEN_UP else [each for each in STATES if each == state]
    read = await runtime.queue.jobs(
        states=wanted, action=query.get("action") or None, queue=query.get("queue") or None, most=most + 1
    )
    found = [each for each in read if text in f"{each.job.id} {each.job.title} {text_of_error(each.error)}".lower()]
    return found, max(Counter(each.state for each in read).values(), default=0) > most


async def listing_of(runtime: Runtime, query: Mapping[str, str]) -> Listing:
    """Return the page of jobs that a query string asks for. Errors: Overloaded if the queue does not answer."""
    found, is_cut = await matching(runtime, query, MOST_READ)
    depth = await runtime.queue.depth()
    pages = max(1, -(-len(found) // PER_PAGE))
    number = query.get("page", "1")
    page = min(max(1, int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1), pages)
    reasons = Counter(text_of_error(each.error)[:MOST_OF_REASON] for each in found if each.error is not None)
    return Listing(
        shown=found[(page - 1) * PER_PAGE : page * PER_PAGE],
        matching=len(found),
        page=page,
        pages=pages,
        queues=await runtime.queue.queues(),
        given_up=depth.dead,
        is_cut=is_cut,
        actions=sorted({each.name for each in runtime.catalog} | {each.job.title for each in found}),
        reasons=reasons.most_common(5),
    )


async def job_of(runtime: Runtime, job_id: str) -> JobState:
    """Return a job by its id. Errors: NotFound, Overloaded."""
    found = await runtime.queue.state(job_id)
    if found is None:
        raise NotFound("There is no such job, or its state has expired")
    return found


async def change_jobs(runtime: Runtime, change: str, job_ids: Iterable[str]) -> AsyncIterator[str]:
    """Retry, drop or cancel jobs; yield the id of each that was, at once. Errors: Overloaded."""
    queue = runtime.queue
    apply = {"retry": queue.retry, "drop": queue.drop, "cancel": queue.cancel}[change]
    for job_id in job_ids:
        if await apply(job_id):
            yield job_id


async def schedule_rows(runtime: Runtime) -> list[ScheduleRow]:
    """Return the schedules of an app, the next one first. Errors: Overloaded if the queue does not answer."""
    queue = runtime.queue
    paused = await queue.paused_schedules() if isinstance(queue, PausesSchedules) else None
    now_ms = round(runtime.clock.now() * 1000)
    schedules = schedules_of(runtime)
    runs = await queue.last_runs([each.name for each in schedules]) if isinstance(queue, RecordsRuns) else None
    rows = [
        ScheduleRow(
            each.name,
            each.action.name,
            trigger_text(each.trigger),
            each.slot_after(now_ms) / 1000,
            int(runtime.metrics.value(SCHEDULED, each.action.name, "done")),
            int(runtime.metrics.value(SCHEDULED, each.action.name, "failed")),
            None if paused is None else each.name in paused,
            None if runs is None else runs[each.name],
        )
        for each in schedules
    ]
    return sorted(rows, key=lambda row: row.next_at)


async def schedules_digest(runtime: Runtime) -> int:
    """Return a number that changes when a schedule has run or was paused. Errors: Overloaded."""
    rows = await schedule_rows(runtime)
    return hash(tuple((each.name, each.is_paused, tuple(each.runs or ())) for each in rows))


async def pause_schedule(runtime: Runtime, name: str, *, is_paused: bool) -> None:
    """Pause or resume a schedule. Errors: NotFound, Overloaded."""
    queue = runtime.queue
    if name not in {each.name for each in schedules_of(runtime)} or not isinstance(queue, PausesSchedules):
        raise NotFound("There is no such schedule that can be paused")
    await (queue.pause_schedule(name) if is_paused else queue.resume_schedule(name))


async def deliveries_of(runtime: Runtime) -> list[JobState]:
    """Return the last deliveries of webhooks that are known, the latest first. Errors: Overloaded."""
    found: list[JobState] = []
    for channel in runtime.catalog.channels_of(WebhookEventChannel):
        found += await runtime.queue.jobs(states=STATES, action=f"webhook {channel.name}", most=PER_PAGE)
    return sorted(found, key=lambda each: each.job.enqueued_at, reverse=True)


async def load_of(runtime: Runtime) -> Load:
    """Return what workers run and how many jobs ended in the last half hour. Errors: Overloaded."""
    queue = runtime.queue
    running: dict[str, list[JobState]] = {}
    for each in await queue.jobs(states=_RUNNING, most=MOST_READ):
        running.setdefault(each.worker or "", []).append(each)
    known = {each.name: each for each in await queue.workers()} if isinstance(queue, KnowsWorkers) else {}
    names = sorted({*running, *known})
    workers = [WorkerRow(name, known.get(name), running.get(name, ())) for name in names]
    ended = await queue.jobs(states=_ENDED, most=MOST_CHARTED)
    now, minutes = runtime.clock.now(), [Minute() for _ in range(MINUTES)]
    for each in ended:
        ago = int((now - (each.ended_at or 0)) // 60)
        if 0 <= ago < MINUTES:
            place = MINUTES - 1 - ago
            minute = minutes[place]
            is_done = each.state == "done"
            minutes[place] = Minute(minute.done + is_done, minute.failed + (not is_done))
    tries = Counter(min(each.tries, 5) for each in ended)
    is_cut = max(Counter(each.state for each in ended).values(), default=0) >= MOST_CHARTED
    return Load(workers, is_cut, minutes, [tries[number] for number in range(1, 6)])


async def run_now(runtime: Runtime, name: str) -> str:
    """Enqueue a job that runs a schedule's action, as the schedule does; return its id. Errors: NotFound, Overloaded."""
    schedule = next((each for each in schedules_of(runtime) if each.name == name), None)
    if schedule is None:
        raise NotFound("There is no such schedule")
    async with runtime.context("job", trusted=True) as context:
        return await enqueue(context, schedule.action, {})


def shown_params(runtime: Runtime, state: JobState) -> str:
    """Return the parameters of a job as JSON, without secrets; only their names if its action is unknown."""
    action = next((each for each in runtime.catalog if each.name == state.job.action), None)
    if action is None or state.job.tagged:
        return redaction.hidden_params(state.job.params)
    return redaction.shown_params(action, state.job.params)


async def digest_of(runtime: Runtime) -> int:
    """Return a number that changes when a job or queue does. Errors: Overloaded."""
    queue = runtime.queue
    states = await queue.jobs(states=STATES, most=PER_PAGE)
    workers = [each.name for each in await queue.workers()] if isinstance(queue, KnowsWorkers) else []
    return hash((tuple(await queue.queues()), tuple(map(_digest, states)), await queue.depth(), tuple(workers)))


def _digest(each: JobState) -> object:
    return each.job.id, each.state, each.tries, each.due_at, each.ended_at, str(each.progress)
