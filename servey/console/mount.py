"""``/_servey``: the console, a few pages for who develops or operates an app.

They are rendered on the server; a small script adds live updates and forms that call actions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from servey.console import actions
from servey.console.access import audit
from servey.console.cache_pages import invalidate_results, show_cache, show_cached
from servey.console.call_pages import live_calls, recording, show_calls, show_trace
from servey.console.channel_pages import live_channels, publish, show_channel, show_channels
from servey.console.diagnosis import part_problems, setting_rows
from servey.console.job_pages import (
    change_jobs,
    change_queue,
    change_schedule,
    live_jobs,
    live_schedules,
    send_again,
    show_job,
    show_jobs,
    show_schedules,
    show_webhooks,
)
from servey.console.page import FOLDER, PAGES, PATH, Console, Page, guarded, render
from servey.console.samples import sampling
from servey.core.access import Authorization
from servey.core.channels import WebhookEventChannel
from servey.core.errors import ActionError, NotFound
from servey.exposure import Exposure
from servey.graphql.schema.fields import Fields
from servey.http.bodies import read_form
from servey.runtime.runtime import Runtime
from servey.runtime.startup_checks import list_relaxed_settings

TOKEN_SECONDS = 600
"""How long the token of a chosen user is valid."""


def mount_console(
    app: FastAPI, runtime: Runtime, exposures: Callable[[], list[Exposure]], fields: Fields | None
) -> None:
    """Add the console. Without Jinja its pages say which extra they need."""
    console = Console(app, runtime, exposures, fields, importlib.util.find_spec("jinja2") is not None)
    catalog = runtime.catalog
    needed = {"Channels": bool(catalog.channels), "Webhooks": bool(catalog.channels_of(WebhookEventChannel))}
    pages = {label: path for label, path in PAGES.items() if needed.get(label, True)}
    runtime.shipped |= pages if console.has_templates else {"Actions": PATH}
    runtime.services += [recording, sampling(console.samples)]
    script = (FOLDER / "console.js").read_bytes()

    async def file(request: Request) -> Response:
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(script, media_type="text/javascript", headers=headers)

    routes: list[tuple[str, str, Page]] = [
        ("GET", PATH, show_actions),
        ("GET", f"{PATH}/actions/{{name}}", show_action),
        ("POST", f"{PATH}/token", token_for),
        ("GET", f"{PATH}/calls", show_calls),
        ("GET", f"{PATH}/calls/live", live_calls),
        ("GET", f"{PATH}/calls/trace", show_trace),
        ("GET", f"{PATH}/jobs", show_jobs),
        ("POST", f"{PATH}/jobs", change_jobs),
        ("POST", f"{PATH}/queues", change_queue),
        ("GET", f"{PATH}/jobs/live", live_jobs),
        ("GET", f"{PATH}/jobs/{{job_id}}", show_job),
        ("GET", f"{PATH}/schedules", show_schedules),
        ("POST", f"{PATH}/schedules", change_schedule),
        ("GET", f"{PATH}/live/schedules", live_schedules),
        ("GET", f"{PATH}/channels", show_channels),
        ("GET", f"{PATH}/live/channels", live_channels),
        ("GET", f"{PATH}/channels/{{name}}", show_channel),
        ("POST", f"{PATH}/channels/{{name}}", publish),
        ("GET", f"{PATH}/webhooks", show_webhooks),
        ("POST", f"{PATH}/webhooks", send_again),
        ("GET", f"{PATH}/cache", show_cache),
        ("POST", f"{PATH}/cache", invalidate_results),
        ("GET", f"{PATH}/cache/{{name}}", show_cached),
        ("GET", f"{PATH}/settings", show_settings),
    ]
    app.add_route(f"{PATH}/console.js", file, include_in_schema=False)
    for method, path, page in routes:
        app.add_route(path, guarded(console, page), methods=[method], include_in_schema=False)


# ----------------------------------------------------------------------------------------------------------- actions


async def show_actions(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The list of actions."""
    everything = console.exposures()
    query = request.query_params
    groups = {each.name: actions.groups_of(each) for each in console.runtime.catalog}
    return await render(
        console,
        request,
        "actions",
        "Actions",
        rows=actions.matching(everything, query, groups),
        groups=sorted({group for each in groups.values() for group in each}),
        total=len(everything),
        query=query,
        transports=actions.TRANSPORTS,
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
    return await render(
        console,
        request,
        "action",
        "Actions",
        action=action,
        exposure=exposure,
        details=details,
        graphql=graphql,
        mcp=console.runtime.settings.mcp_path,
        can_sign=_can_sign(console.runtime),
    )


async def token_for(console: Console, request: Request, caller: Authorization | None) -> Response:
    """A token of any user, to try an action; in development only. Errors: NotFound, ActionError."""
    runtime = console.runtime
    if not _can_sign(runtime):
        raise NotFound("Only development with a key that signs has tokens of any user")
    form = await read_form(request)
    subject, scopes = str(form.get("subject", "")).strip(), str(form.get("scopes", "")).split()
    if not subject:
        raise ActionError(400, "http_400", "Name the user")
    authorizer: Any = runtime.authorizer
    token = authorizer.sign(Authorization(subject, frozenset(scopes)), lifetime=TOKEN_SECONDS)
    audit(request, caller, f"token of {subject}")
    return JSONResponse({"token": token}, headers={"Cache-Control": "no-store"})


def _can_sign(runtime: Runtime) -> bool:
    return runtime.settings.is_dev and bool(getattr(runtime.authorizer, "can_sign", False))


# ----------------------------------------------------------------------------------------------------------- settings


async def show_settings(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The settings and the parts, as `servey doctor` shows them."""
    runtime = console.runtime
    return await render(
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
