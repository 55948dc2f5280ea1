"""The console's pages of jobs and schedules."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from servey.console import jobs
from servey.console.access import audit
from servey.console.page import Console, live, render, see
from servey.console.samples import points
from servey.core.access import Authorization
from servey.core.channels import WebhookEventChannel
from servey.core.errors import ActionError, NotFound
from servey.http.bodies import read_form
from servey.jobs.errors import text_of_error

LINE = (180, 24)
"""The size of the line of a queue's depth."""


async def show_jobs(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The jobs that fit the filters. Errors: Overloaded."""
    query = request.query_params
    listing = await jobs.listing_of(console.runtime, query)
    depths = {each.name: console.samples.waiting(each.name, each.queued) for each in listing.queues}
    kept = {name: query[name] for name in ("state", "action", "queue", "q") if query.get(name)}
    return await render(
        console,
        request,
        "jobs",
        "Jobs",
        listing=listing,
        load=await jobs.load_of(console.runtime),
        lines={name: (points(depth, *LINE), max(depth)) for name, depth in depths.items()},
        line=LINE,
        query=query,
        states=(*jobs.STATES, jobs.ALL_GIVEN_UP),
        error_text=text_of_error,
        kept=kept,
        here=urlencode(kept),
        reasons=[
            (count, text, urlencode({**kept, "state": kept.get("state", jobs.ALL_GIVEN_UP), "q": text}))
            for text, count in listing.reasons
        ],
        in_redis=console.runtime.settings.redis_url is not None,
        changed=_count(query.get("changed")),
        change=jobs.CHANGES.get(query.get("change", ""), ""),
    )


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else None


async def show_job(console: Console, request: Request, caller: Authorization | None) -> Response:
    """One job. Errors: NotFound, Overloaded."""
    state = await jobs.job_of(console.runtime, request.path_params["job_id"])
    known = any(each.name == state.job.action for each in console.runtime.catalog)
    params = jobs.shown_params(console.runtime, state)
    return await render(
        console, request, "job", "Jobs", state=state, params=params, error_text=text_of_error, is_known=known
    )


async def change_jobs(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Retry, drop or cancel the chosen jobs, or all that fit the filters. Errors: ActionError."""
    form = await read_form(request, max_fields=10_000)
    change = str(form.get("change", ""))
    if change not in jobs.CHANGES:
        raise ActionError(400, "http_400", "Choose what to do: retry, drop or cancel")
    chosen = [str(each) for each in form.getlist("id")]
    query = {name: str(form.get(name, "")) for name in ("state", "action", "queue", "q")}
    if form.get("all"):
        found, _ = await jobs.matching(console.runtime, query, jobs.MOST_CHANGED)
        chosen = [each.job.id for each in found if (each.state in jobs.RETRIED) == (change != "cancel")]
    changed = 0
    async for job_id in jobs.change_jobs(console.runtime, change, chosen):
        audit(request, caller, f"{change} of a job", job_id)
        changed += 1
    kept = {name: value for name, value in query.items() if value}
    return see(console, request, "jobs", {**kept, "change": change, "changed": str(changed)})


async def change_queue(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Pause or resume a queue. Errors: NotFound, Overloaded, ActionError."""
    form = await read_form(request)
    name, change, queue = str(form.get("name", "")), form.get("change"), console.runtime.queue
    if change not in ("pause", "resume"):
        raise ActionError(400, "http_400", "Choose what to do: pause or resume")
    if name not in {each.name for each in await queue.queues()}:
        raise NotFound("There is no such queue")
    is_paused = change == "pause"
    await (queue.pause(name) if is_paused else queue.resume(name))
    audit(request, caller, f"{'pause' if is_paused else 'resumption'} of the queue {name}")
    return see(console, request, "jobs", {})


async def live_jobs(console: Console, request: Request, caller: Authorization | None) -> Response:
    """A stream of server-sent events, one whenever a job has changed."""
    return live(console.runtime, lambda: jobs.digest_of(console.runtime))


async def show_schedules(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The schedules."""
    rows = await jobs.schedule_rows(console.runtime)
    return await render(console, request, "schedules", "Schedules", rows=rows)


async def live_schedules(console: Console, request: Request, caller: Authorization | None) -> Response:
    """A stream of server-sent events, one whenever a schedule has run or was paused."""
    return live(console.runtime, lambda: jobs.schedules_digest(console.runtime))


async def change_schedule(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Run a schedule's action now, as a job, or pause or resume the schedule. Errors: NotFound, Overloaded, ActionError."""
    form = await read_form(request)
    name, change = str(form.get("name", "")), form.get("change", "run")
    if change not in ("run", "pause", "resume"):
        raise ActionError(400, "http_400", "Choose what to do: run, pause or resume")
    if change in ("pause", "resume"):
        await jobs.pause_schedule(console.runtime, name, is_paused=change == "pause")
        audit(request, caller, f"{'pause' if change == 'pause' else 'resumption'} of the schedule {name}")
        return see(console, request, "schedules", {})
    job_id = await jobs.run_now(console.runtime, name)
    audit(request, caller, "run of a schedule", job_id)
    return see(console, request, f"jobs/{job_id}", {})


async def show_webhooks(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The webhook channels and their last deliveries. Errors: Overloaded."""
    channels = console.runtime.catalog.channels_of(WebhookEventChannel)
    deliveries = await jobs.deliveries_of(console.runtime)
    return await render(
        console,
        request,
        "webhooks",
        "Webhooks",
        channels=[
            {
                "name": each.name,
                "host": urlsplit(each.url).hostname or "",  # the rest of the URL may contain a secret
                "is_signed": each.secret is not None,
                "states": Counter(one.state for one in deliveries if one.job.channel == each.name),
                "tries": each.retry.max_tries,
            }
            for each in channels
        ],
        deliveries=deliveries[: jobs.PER_PAGE],
        error_text=text_of_error,
        sent=_count(request.query_params.get("sent")),
    )


async def send_again(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Send an event again that could not be delivered. Errors: Overloaded."""
    job_id = str((await read_form(request)).get("id", ""))
    state = await console.runtime.queue.state(job_id)
    is_delivery = state is not None and state.job.channel is not None
    sent = 0
    async for each in jobs.change_jobs(console.runtime, "retry", [job_id] if is_delivery else []):
        audit(request, caller, "another delivery of a webhook", each)
        sent += 1
    return see(console, request, "webhooks", {"sent": str(sent)})
