"""The command `jobs`: list jobs and queues; retry, drop and cancel jobs; pause queues."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from servey.cli.output import AppPlace, fail, print_table, use_app
from servey.core.errors import Overloaded
from servey.jobs.errors import text_of_error

if TYPE_CHECKING:
    from servey.core.queues import JobState, Queue, State

T = TypeVar("T")

jobs: typer.Typer = typer.Typer(
    name="jobs",
    help="List and watch jobs and queues; retry, drop or cancel jobs; pause queues.",
    invoke_without_command=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="job ids, as listed by `servey jobs`")]
Id = Annotated[str, typer.Argument(metavar="ID", help="a job id, as listed by `servey jobs`")]
Needed = Annotated[list[str], typer.Argument(metavar="ID...", help="job ids, as listed by `servey jobs`")]
AllDead = Annotated[bool, typer.Option("--all", help="all dead jobs")]
ActionName = Annotated[str | None, typer.Option("--action", metavar="NAME", help="only jobs of this action")]
QueueName = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="only jobs of this queue")]
QueueArgument = Annotated[str, typer.Argument(metavar="QUEUE", help="the name of a queue, e.g. mail")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="only jobs that died within this time: 90s, 30m, 6h, 7d")
]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="dead jobs that died before that: 90s, 30m, 6h, 7d")
]

_GIVEN_UP: Collection[State] = ("failed", "dead")
_AT_ONCE = 50
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@jobs.callback()
def list_jobs(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="only jobs in this state, also done and cancelled")] = None,
    action: ActionName = None,
    queue: QueueName = None,
    as_json: AsJson = False,
    app: AppPlace = None,
) -> None:
    """List and watch jobs and queues; retry, drop or cancel jobs; pause queues."""
    from servey.core.queues import LISTED, STATES

    use_app(app)
    if context.invoked_subcommand is None:
        if state is not None and state not in STATES:
            fail(f"--state {state}: use one of {', '.join(STATES)}", 2)
        states: Any = LISTED if state is None else (state,)
        _show(_run(lambda opened: opened.jobs(states=states, action=action, queue=queue)), as_json)


@jobs.command()
def dead(action: ActionName = None, queue: QueueName = None, since: Since = None, as_json: AsJson = False) -> None:
    """List the jobs that were given up: those that failed on every try."""
    after = _moment(since, "--since")
    _show(_run(lambda opened: _dead(opened, action, queue, after=after)), as_json)


@jobs.command()
def show(
    job_id: Id,
    as_json: AsJson = False,
) -> None:
    """Show one job with its tries."""
    state: JobState | None = _run(lambda opened: opened.state(job_id))
    if state is None:
        fail(f"no such job: {job_id}", 1)
    if as_json:
        print(json.dumps(_json_of(state), indent=2))
        return
    _show([state], False)
    if state.history:
        rows = [("TRY", "STARTED", "SECONDS", "WORKER", "ERROR")]
        for each in state.history:
            started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.started_at))
            seconds = f"{each.ended_at - each.started_at:.3f}"
            rows.append((str(each.number), started, seconds, each.worker, _text_of(each.error)))
        print()
        print_table(rows)


@jobs.command(short_help="Enqueue dead or cancelled jobs again, some or all.")
def retry(
    ids: Ids = None, all_dead: AllDead = False, action: ActionName = None, since: Since = None, as_json: AsJson = False
) -> None:
    """Enqueue dead or cancelled jobs again: some, or --all dead ones, of one action if named."""
    after = _moment(since, "--since")
    if bool(ids) == all_dead or (ids and (action or since)):
        fail("give job ids, or --all for all dead jobs, with --action and --since to select among them", 2)
    _each(
        ids,
        lambda opened: _dead(opened, action, None, after=after),
        "retried",
        lambda opened, each: opened.retry(each),
        as_json,
    )


@jobs.command(short_help="Delete jobs that do not run, some or all dead ones.")
def drop(
    ids: Ids = None,
    all_dead: AllDead = False,
    action: ActionName = None,
    older_than: OlderThan = None,
    as_json: AsJson = False,
) -> None:
    """Delete jobs that do not run: some, or --all dead ones, or those that died long ago."""
    before = _moment(older_than, "--older-than")
    if bool(ids) == (all_dead or before is not None) or (ids and action):
        fail("give job ids, or --all for all dead jobs, or --older-than TIME; with --action to select among them", 2)
    _each(
        ids,
        lambda opened: _dead(opened, action, None, before=before),
        "dropped",
        lambda opened, each: opened.drop(each),
        as_json,
    )


@jobs.command()
def cancel(ids: Needed, as_json: AsJson = False) -> None:
    """Cancel queued or running jobs."""
    _each(ids, None, "cancelled", lambda opened, each: opened.cancel(each), as_json)


@jobs.command()
def watch(action: ActionName = None, queue: QueueName = None, as_json: AsJson = False) -> None:
    """Print what happens to jobs until you press Ctrl-C."""

    async def main(opened: Queue) -> None:
        async for each in opened.events():
            if action not in (None, each.action) or queue not in (None, each.queue):
                continue
            if as_json:
                print(json.dumps(asdict(each)), flush=True)
            else:
                at = time.strftime("%H:%M:%S", time.localtime(each.at))
                print(f"{at}  {each.event:<14}  {each.id}  {each.action}  {_text_of(each.error)}".rstrip(), flush=True)

    with suppress(KeyboardInterrupt):
        _run(main)


@jobs.command(short_help="List the queues: what waits, runs and is paused.")
def queues(as_json: AsJson = False) -> None:
    """List the queues, how many jobs wait and run in each, and which are paused."""
    found = _run(lambda opened: opened.queues())
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    now = time.time()
    rows = [("QUEUE", "STATE", "QUEUED", "RUNNING", "OLDEST")]
    for each in found:
        overdue = "" if each.due_at is None or each.due_at > now else _age(now - each.due_at)
        rows.append((each.name, "paused" if each.paused else "open", str(each.queued), str(each.running), overdue))
    print_table(rows)


@jobs.command()
def pause(queue: QueueArgument) -> None:
    """Let workers take no more jobs from a queue until it is resumed. Jobs that run go on."""
    _check_queue(queue)
    _run(lambda opened: opened.pause(queue))
    print(f"queue '{queue}' is paused")


@jobs.command()
def resume(queue: QueueArgument) -> None:
    """Let workers take jobs from a paused queue again."""
    _check_queue(queue)
    _run(lambda opened: opened.resume(queue))
    print(f"queue '{queue}' is open")


def _check_queue(name: str) -> None:
    from servey.core.queues import queue_problem

    problem = queue_problem(name)
    if problem is not None:
        fail(problem, 2)


async def _dead(
    opened: Queue, action: str | None, queue: str | None, *, after: float | None = None, before: float | None = None
) -> list[JobState]:
    found = await opened.jobs(states=_GIVEN_UP, action=action, queue=queue)
    return [
        each
        for each in found
        if (after is None or (each.ended_at or 0) >= after) and (before is None or (each.ended_at or 0) <= before)
    ]


def _each(
    ids: list[str] | None,
    find: Callable[[Queue], Awaitable[list[JobState]]] | None,
    done: str,
    change: Callable[[Queue, str], Awaitable[bool]],
    as_json: bool,
) -> None:
    """Change the jobs with these ids, or else those that are found."""

    async def main(opened: Queue) -> tuple[list[str], list[str]]:
        if ids:
            wanted = ids
        else:
            assert find is not None
            wanted = [each.job.id for each in await find(opened)]
        return wanted, await _refused(wanted, lambda job_id: change(opened, job_id))

    wanted, refused = _run(main)
    changed = set(wanted).difference(refused)
    if as_json:
        print(json.dumps({done: [each for each in wanted if each in changed], "refused": refused}, indent=2))
    else:
        print(f"{len(changed)} jobs {done}")
    if ids and refused:
        fail(f"no such job, so not {done}: {', '.join(refused)}", 1)


async def _refused(ids: Sequence[str], change: Callable[[str], Awaitable[bool]]) -> list[str]:
    """Change jobs, several at once, and return the ids of those that could not be; progress is shown after a second."""
    refused: list[str] = []
    begun, shown = time.monotonic(), False
    for begin in range(0, len(ids), _AT_ONCE):
        some = ids[begin : begin + _AT_ONCE]
        changed = await asyncio.gather(*map(change, some))
        refused += [job_id for job_id, was_changed in zip(some, changed, strict=True) if not was_changed]
        if sys.stderr.isatty() and time.monotonic() - begun > 1:
            done, shown = begin + len(some), True
            bar = "#" * (40 * done // len(ids))
            print(f"\r[{bar:<40}] {done} of {len(ids)}", end="", file=sys.stderr, flush=True)
    if shown:
        print(file=sys.stderr)
    return refused


def _run(use: Callable[[Queue], Awaitable[T]]) -> T:
    """Open the queue of the settings, call ``use`` with it and return the result."""
    from servey.core.settings import Settings
    from servey.jobs.queue import queue_of

    settings = Settings()
    if settings.app:
        from servey.project import load_project

        settings = load_project().required.runtime.settings
    if settings.redis_url is None:
        fail("jobs are in the server's memory; set SERVEY_REDIS_URL to store them in Redis", 1)

    async def main() -> T:
        opened = queue_of(settings)
        try:
            return await use(opened)
        finally:
            await opened.aclose()

    try:
        return asyncio.run(main())
    except BrokenPipeError:
        raise  # whoever read the output has ended, e.g. `head`
    except (OSError, Overloaded) as error:
        fail(f"Redis does not answer: {error}", 1)


def _json_of(state: JobState) -> dict[str, Any]:
    return {
        **state.as_json(),
        "queue": state.job.queue,
        "priority": state.job.priority,
        "tries": state.tries,
        "enqueued_at": state.job.enqueued_at,
        "due_at": state.due_at,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "worker": state.worker,
        "history": [asdict(each) for each in state.history],
    }


def _show(states: Sequence[JobState], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_json_of(each) for each in states], indent=2))
        return
    now = time.time()
    rows = [("ID", "ACTION", "QUEUE", "STATE", "AGE", "TRIES", "ERROR")]
    for each in states:
        scheduled = each.state == "queued" and each.due_at > now
        state = f"in {each.due_at - now:.0f} s" if scheduled else each.state
        age = _age(now - each.job.enqueued_at)
        rows.append((each.job.id, each.job.title, each.job.queue, state, age, str(each.tries), _text_of(each.error)))
    print_table(rows)


def _text_of(error: Any) -> str:
    text = text_of_error(error)[:80]
    # It may have words of a stranger, e.g. of a webhook's receiver, which must not control the operator's terminal.
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _moment(ago: str | None, option: str) -> float | None:
    """Return the time that was this long ago, in seconds since 1970."""
    if ago is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd])", ago)
    if found is None:
        fail(f"{option} {ago}: write a number and a unit, e.g. 90s, 30m, 6h or 7d", 2)
    return time.time() - int(found[1]) * _UNITS[found[2]]


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
