"""``/_servey``: the console, a few pages for who develops or operates an app.

They are rendered on the server; a small script adds live updates and forms that call actions.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from servey.caching.results import invalidate
from servey.console import actions, jobs
from servey.console.access import audit, operator_of
from servey.console.diagnosis import part_problems, setting_rows
from servey.core.access import Authorization
from servey.core.channels import WebsocketEventChannel
from servey.core.errors import ActionError, NotFound
from servey.exposure import Exposure
from servey.graphql.schema.fields import Fields
from servey.http.bodies import read_form
from servey.http.errors import error_response
from servey.layout.frame import FILES, LOGIN, frame_of, head, stylesheet
from servey.layout.page import LIVE, accepts_html, page_headers, policy_of, shipped_page
from servey.observability.metrics import CACHE
from servey.routers.pages.failures import login_form, plain_error_page
from servey.runtime.runtime import Runtime
from servey.runtime.startup_checks import list_relaxed_settings

if TYPE_CHECKING:
    from jinja2 import Environment

PATH = "/_servey"
PAGES = {
    "Actions": PATH,
    "Jobs": f"{PATH}/jobs",
    "Schedules": f"{PATH}/schedules",
    "Cache": f"{PATH}/cache",
    "Settings": f"{PATH}/settings",
}
_FOLDER = Path(__file__).parent
_LIVE_SECONDS = 600
"""How long a stream of changes lasts before the browser reconnects, so that tokens are verified again."""


@dataclass(frozen=True)
class Console:
    """What the pages of the console need."""

    app: FastAPI
    runtime: Runtime
    exposures: Callable[[], list[Exposure]]
    fields: Fields | None
    has_templates: bool
    """Whether Jinja is installed."""


Page = Callable[[Console, Request, Authorization | None], Awaitable[Response]]


def mount_console(
    app: FastAPI, runtime: Runtime, exposures: Callable[[], list[Exposure]], fields: Fields | None
) -> None:
    """Add the console. Without Jinja its pages say which extra they need."""
    console = Console(app, runtime, exposures, fields, importlib.util.find_spec("jinja2") is not None)
    runtime.shipped |= PAGES if console.has_templates else {"Actions": PATH}
    script = (_FOLDER / "console.js").read_bytes()

    async def file(request: Request) -> Response:
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(script, media_type="text/javascript", headers=headers)

    routes: list[tuple[str, str, Page]] = [
        ("GET", PATH, show_actions),
        ("GET", f"{PATH}/actions/{{name}}", show_action),
        ("GET", f"{PATH}/jobs", show_jobs),
        ("POST", f"{PATH}/jobs", change_jobs),
        ("POST", f"{PATH}/queues", change_queue),
        ("GET", f"{PATH}/jobs/live", live_jobs),
        ("GET", f"{PATH}/jobs/{{job_id}}", show_job),
        ("GET", f"{PATH}/schedules", show_schedules),
        ("POST", f"{PATH}/schedules", run_schedule),
        ("GET", f"{PATH}/cache", show_cache),
        ("POST", f"{PATH}/cache", invalidate_results),
        ("GET", f"{PATH}/settings", show_settings),
    ]
    app.add_route(f"{PATH}/console.js", file, include_in_schema=False)
    for method, path, page in routes:
        app.add_route(path, _guarded(console, page), methods=[method], include_in_schema=False)


@functools.cache
def _environment() -> Environment:
    """Return the templates of the console, each compiled at its first use. It reads files: not on the event loop."""
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined

    layout = PrefixLoader({"servey": FileSystemLoader(FILES)})
    loader = ChoiceLoader([FileSystemLoader(_FOLDER / "templates"), layout])
    made = Environment(
        loader=loader,
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": _when, "ago": _ago}
    return made


def _guarded(console: Console, page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            caller = await operator_of(console.runtime, request)
            if not console.has_templates:
                return _without_jinja(console, request)
            return await page(console, request, caller)
        except ActionError as error:
            return _failure(console, request, error)

    return serve


def _without_jinja(console: Console, request: Request) -> Response:
    text = 'This page needs the package jinja2; install Servey with the extra "standard".'
    frame = frame_of(console.runtime, request.scope)
    return shipped_page(frame, "Console", f"<h1>Console</h1><p>{text}</p>", kind="text", status=503)


def _failure(console: Console, request: Request, error: ActionError) -> Response:
    if not accepts_html(request.scope):
        return error_response(error, console.runtime, request.scope)
    frame = frame_of(console.runtime, request.scope)
    if error.status == 401 and LOGIN in frame.links:
        content = f"<h1>Log in</h1>{login_form(frame.links[LOGIN], frame.root + PATH)}"
        return shipped_page(frame, "Log in", content, kind="narrow", status=401, headers=error.headers)
    return plain_error_page(error, frame)


async def _render(console: Console, request: Request, template: str, label: str, **variables: Any) -> Response:
    frame = frame_of(console.runtime, request.scope, for_operator=True)
    nonce = secrets.token_urlsafe(16)
    style = f'<style nonce="{nonce}">{stylesheet("frame", "page")}</style>'
    known = {
        "servey": {"title": frame.title, "head": head(style), "header": frame.header(label)},
        "base": frame.root + PATH,
        "root": frame.root,
        "links": frame.links,
        "nonce": nonce,
        "is_dev": console.runtime.settings.is_dev,
        **variables,
    }

    def render() -> str:
        return _environment().get_template(f"{template}.j2").render(known)

    text = await console.runtime.threads.run(render, lambda: None)
    answer = HTMLResponse(text, headers={"Cache-Control": "no-store"})
    return page_headers(answer, policy_of(LIVE, nonce))


def _when(seconds: float) -> str:
    """Return a moment as text for a machine and for the title of a relative time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _ago(seconds: float) -> str:
    """Return a moment relative to now."""
    distance = time.time() - seconds
    size = abs(distance)
    units = (("d", 86_400), ("h", 3600), ("min", 60))
    unit, length = next((each for each in units if size >= 2 * each[1]), ("s", 1))
    text = f"{size / length:.0f} {unit}"
    return f"{text} ago" if distance >= 0 else f"in {text}"


# ----------------------------------------------------------------------------------------------------------- actions


async def show_actions(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The list of actions."""
    everything = console.exposures()
    query = request.query_params
    return await _render(
        console,
        request,
        "actions",
        "Actions",
        rows=actions.matching(everything, query),
        total=len(everything),
        query=query,
        transports=actions.TRANSPORTS,
        channels=console.runtime.catalog.channels_of(WebsocketEventChannel),
        metrics=console.runtime.settings.metrics,
    )


async def show_action(console: Console, request: Request, caller: Authorization | None) -> Response:
    """One action. Errors: NotFound."""
    name = request.path_params["name"]
    action = next((each for each in console.runtime.catalog if each.name == name), None)
    exposure = next((each for each in console.exposures() if each.name == name), None)
    if action is None or exposure is None:
        raise NotFound("There is no such action")
    base = str(request.base_url).rstrip("/")
    mcp = base + console.runtime.settings.mcp_path
    details = await console.runtime.threads.run(
        lambda: actions.details_of(action, exposure, console.app.routes, console.fields, base, mcp), lambda: None
    )
    graphql = console.runtime.settings.graphql_path if console.fields is not None else ""
    return await _render(
        console, request, "action", "Actions", action=action, exposure=exposure, details=details, graphql=graphql
    )


# -------------------------------------------------------------------------------------------------------------- jobs


async def show_jobs(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The jobs that fit the filters. Errors: Overloaded."""
    query = request.query_params
    listing = await jobs.listing_of(console.runtime, query)
    kept = {name: query[name] for name in ("state", "action", "queue", "q") if query.get(name)}
    return await _render(
        console,
        request,
        "jobs",
        "Jobs",
        listing=listing,
        query=query,
        states=jobs.STATES,
        error_text=jobs.error_text,
        kept=kept,
        here=urlencode(kept),
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
    return await _render(
        console, request, "job", "Jobs", state=state, params=params, error=jobs.error_text(state), is_known=known
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
    done = await jobs.change_jobs(console.runtime, change, chosen)
    for job_id in done:
        audit(request, caller, f"{change} of a job", job_id)
    kept = {name: value for name, value in query.items() if value}
    return _see(console, request, "jobs", {**kept, "change": change, "changed": str(len(done))})


async def change_queue(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Pause or resume a queue. Errors: NotFound, Overloaded."""
    form = await read_form(request)
    name, queue = str(form.get("name", "")), console.runtime.queue
    if name not in {each.name for each in await queue.queues()}:
        raise NotFound("There is no such queue")
    is_paused = form.get("change") == "pause"
    await (queue.pause(name) if is_paused else queue.resume(name))
    audit(request, caller, f"{'pause' if is_paused else 'resumption'} of the queue {name}")
    return _see(console, request, "jobs", {})


async def live_jobs(console: Console, request: Request, caller: Authorization | None) -> Response:
    """A stream of server-sent events, one whenever a job has changed."""

    async def changes() -> AsyncIterator[bytes]:
        runtime, last = console.runtime, None
        until = time.monotonic() + _LIVE_SECONDS
        yield b"retry: 2000\n\n"
        while not runtime.stopping.is_set() and time.monotonic() < until:
            begun = time.monotonic()
            try:
                digest = await jobs.digest_of(runtime)
            except ActionError:
                digest = 0
            yield b": ping\n\n" if digest == last else f"event: jobs\ndata: {digest}\n\n".encode()
            last = digest
            # A long queue takes long to read, and is read less often.
            pause = max(0.5, 10 * (time.monotonic() - begun))
            try:
                await asyncio.wait_for(runtime.stopping.wait(), pause)
            except TimeoutError:
                pass

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(changes(), media_type="text/event-stream", headers=headers)


async def show_schedules(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The schedules."""
    rows = jobs.schedule_rows(console.runtime)
    return await _render(console, request, "schedules", "Schedules", rows=rows)


async def run_schedule(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Run a schedule's action now, as a job. Errors: NotFound, Overloaded."""
    form = await read_form(request)
    job_id = await jobs.run_now(console.runtime, str(form.get("name", "")))
    audit(request, caller, "run of a schedule", job_id)
    return _see(console, request, f"jobs/{job_id}", {})


def _see(console: Console, request: Request, page: str, query: Mapping[str, str]) -> Response:
    root = str(request.scope.get("root_path", "")).rstrip("/")
    text = f"?{urlencode(query)}" if query else ""
    return RedirectResponse(f"{root}{PATH}/{page}{text}", 303, headers={"Cache-Control": "no-store"})


# ----------------------------------------------------------------------------------------------- cache and settings


async def show_cache(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The actions whose results the server caches."""
    metrics, runtime = console.runtime.metrics, console.runtime
    rows = []
    for action in runtime.catalog:
        if runtime.plan(action).cache_policy is not None:
            hits, misses = (int(metrics.value(CACHE, action.name, result)) for result in ("hit", "miss"))
            rate = f"{100 * hits / (hits + misses):.0f} %" if hits + misses else "-"
            row = {"name": action.name, "control": str(action.cache_control), "hits": hits, "misses": misses}
            rows.append({**row, "rate": rate})
    return await _render(console, request, "cache", "Cache", rows=rows, done=request.query_params.get("done") == "1")


async def invalidate_results(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Invalidate the cached results of an action. Errors: NotFound."""
    name = str((await read_form(request)).get("name", ""))
    runtime = console.runtime
    action = next((each for each in runtime.catalog if each.name == name), None)
    if action is None or runtime.plan(action).cache_policy is None:
        raise NotFound("There is no such action with cached results")
    await invalidate(action)
    audit(request, caller, f"invalidation of the results of {name}")
    return _see(console, request, "cache", {"done": "1"})


async def show_settings(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The settings and the parts, as `servey doctor` shows them."""
    runtime = console.runtime
    return await _render(
        console,
        request,
        "settings",
        "Settings",
        rows=setting_rows(runtime.settings),
        parts=await part_problems(runtime),
        warnings=_relaxed(runtime),
    )


def _relaxed(runtime: Runtime) -> Iterable[str]:
    return list(list_relaxed_settings(runtime.settings, runtime.catalog))
