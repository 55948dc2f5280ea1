"""What the pages of the console share: who may see them, and how they are rendered."""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from servey.console.access import operator_of
from servey.console.samples import Samples
from servey.core.access import Authorization
from servey.core.errors import ActionError
from servey.exposure import Exposure
from servey.graphql.schema.fields import Fields
from servey.http.errors import error_response
from servey.layout.frame import FILES, LOGIN, frame_of, head, stylesheet
from servey.layout.page import LIVE, accepts_html, page_headers, policy_of, shipped_page
from servey.routers.pages.failures import login_form, plain_error_page
from servey.runtime.runtime import Runtime

if TYPE_CHECKING:
    from jinja2 import Environment

PATH = "/_servey"
PAGES = {
    "Actions": PATH,
    "Calls": f"{PATH}/calls",
    "Jobs": f"{PATH}/jobs",
    "Schedules": f"{PATH}/schedules",
    "Channels": f"{PATH}/channels",
    "Webhooks": f"{PATH}/webhooks",
    "Cache": f"{PATH}/cache",
    "Settings": f"{PATH}/settings",
}
FOLDER = Path(__file__).parent
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
    samples: Samples = field(default_factory=Samples)


Page = Callable[[Console, Request, Authorization | None], Awaitable[Response]]


def guarded(console: Console, page: Page) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page: it serves operators only, and answers errors as pages."""

    async def serve(request: Request) -> Response:
        try:
            caller = await operator_of(console.runtime, request)
            observer = console.runtime.observer
            if observer is not None and observer.recorder is not None:
                observer.recorder.is_followed = True
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


@functools.cache
def _environment() -> Environment:
    """Return the templates of the console, each compiled at its first use. It reads files: not on the event loop."""
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined

    layout = PrefixLoader({"servey": FileSystemLoader(FILES)})
    loader = ChoiceLoader([FileSystemLoader(FOLDER / "templates"), layout])
    made = Environment(
        loader=loader,
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": _when, "ago": _ago, "duration": _duration}
    return made


async def render(console: Console, request: Request, template: str, label: str, **variables: Any) -> Response:
    """Render a template of the console in a worker thread; ``label`` is the link of the header that is current."""
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

    def rendered() -> str:
        return _environment().get_template(f"{template}.j2").render(known)

    text = await console.runtime.threads.run(rendered, lambda: None)
    answer = HTMLResponse(text, headers={"Cache-Control": "no-store"})
    return page_headers(answer, policy_of(LIVE, nonce))


def _when(seconds: float) -> str:
    """Return a moment as text for a machine and for the title of a relative time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _duration(seconds: float) -> str:
    """Return a duration with a unit that fits."""
    return (
        f"{seconds * 1e3:.2g} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.3g} s"
    )


def _ago(seconds: float) -> str:
    """Return a moment relative to now."""
    distance = time.time() - seconds
    size = abs(distance)
    units = (("d", 86_400), ("h", 3600), ("min", 60))
    unit, length = next((each for each in units if size >= 2 * each[1]), ("s", 1))
    text = f"{size / length:.0f} {unit}"
    return f"{text} ago" if distance >= 0 else f"in {text}"


def see(console: Console, request: Request, page: str, query: Mapping[str, str]) -> Response:
    """Redirect to a page of the console after a change."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    text = f"?{urlencode(query)}" if query else ""
    return RedirectResponse(f"{root}{PATH}/{page}{text}", 303, headers={"Cache-Control": "no-store"})


def live(runtime: Runtime, digest_of: Callable[[], Awaitable[object]]) -> Response:
    """A stream of server-sent events: one at its beginning, and one whenever the digest of a page has changed."""

    async def changes() -> AsyncIterator[bytes]:
        last: object = None
        until = time.monotonic() + _LIVE_SECONDS
        yield b"retry: 2000\n\n"
        while not runtime.stopping.is_set() and time.monotonic() < until:
            begun = time.monotonic()
            try:
                digest = await digest_of()
            except ActionError:
                digest = 0
            yield b": ping\n\n" if digest == last else f"event: change\ndata: {digest}\n\n".encode()
            last = digest
            # What takes long to read is read less often.
            pause = max(0.5, 10 * (time.monotonic() - begun))
            try:
                await asyncio.wait_for(runtime.stopping.wait(), pause)
            except TimeoutError:
                pass

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(changes(), media_type="text/event-stream", headers=headers)
