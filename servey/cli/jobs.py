"""Looking at the queue of jobs, and at the dead ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from servey.cli.output import fail, print_table

if TYPE_CHECKING:
    from servey.queues import JobState, Queue

jobs = typer.Typer(
    name="jobs", help="List the jobs in the queue; retry or drop dead ones.", invoke_without_command=True
)

AsJson = Annotated[bool, typer.Option("--json", help="for programs")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="ids of jobs, as `servey jobs` shows them")]
Dead = Annotated[bool, typer.Option("--all", help="every dead job")]


@jobs.callback()
def list_jobs(context: typer.Context, as_json: AsJson = False) -> None:
    """List the jobs in the queue; retry or drop dead ones."""
    if context.invoked_subcommand is None:
        _show(_run(lambda queue: queue.jobs()), as_json)


@jobs.command()
def dead(as_json: AsJson = False) -> None:
    """List the jobs that have used up their tries."""
    _show([each for each in _run(lambda queue: queue.jobs()) if each.state == "dead"], as_json)


@jobs.command()
def retry(ids: Ids = None, every: Dead = False) -> None:
    """Let dead jobs begin anew."""
    _each(ids, every, "retried", lambda queue, job_id: queue.retry(job_id))


@jobs.command()
def drop(ids: Ids = None, every: Dead = False) -> None:
    """Forget dead jobs, or jobs that wait."""
    _each(ids, every, "dropped", lambda queue, job_id: queue.drop(job_id))


def _each(ids: list[str] | None, every: bool, done: str, change: Callable[[Queue, str], Awaitable[bool]]) -> None:
    if bool(ids) == every:
        fail("give the ids of jobs, or --all for every dead one", 2)

    async def main(queue: Queue) -> list[str]:
        wanted = ids or [each.job.id for each in await queue.jobs() if each.state == "dead"]
        return (
            [job_id for job_id in wanted if not await change(queue, job_id)]
            if ids
            else ["" for job_id in wanted if await change(queue, job_id)]
        )

    found = _run(main)
    if not ids:
        print(f"{len(found)} jobs {done}")
        return
    print(f"{len(ids) - len(found)} jobs {done}")
    if found:
        fail(f"there is no such job to be {done}: {', '.join(found)}", 1)


def _run(use: Callable[[Queue], Awaitable[Any]]) -> Any:
    """What comes of using the queue of the settings."""
    from servey.jobs.queue import queue_of
    from servey.settings import Settings

    settings = Settings()
    if settings.redis_url is None:
        fail("jobs are in the memory of the server; set SERVEY_REDIS_URL to keep them in Redis", 1)

    async def main() -> Any:
        queue = queue_of(settings)
        try:
            return await use(queue)
        finally:
            await queue.aclose()

    try:
        return asyncio.run(main())
    except OSError as error:
        fail(f"Redis does not answer: {error}", 1)


def _show(states: list[JobState], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{**each.as_json(), "tries": each.tries, "due_at": each.due_at} for each in states], indent=2))
        return
    now = time.time()
    rows = [("ID", "ACTION", "STATE", "AGE", "TRIES", "ERROR")]
    for each in states:
        scheduled = each.state == "queued" and each.due_at > now
        state = f"in {each.due_at - now:.0f} s" if scheduled else each.state
        error = str((each.error or {}).get("detail", ""))[:80]
        rows.append((each.job.id, each.job.title, state, _age(now - each.job.enqueued_at), str(each.tries), error))
    print_table(rows)


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
