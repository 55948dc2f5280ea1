"""The app of `servey dev`: a page for a project that cannot start, a summary, and a warning about blocked event loops."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from servey.core.actions import Action
from servey.core.catalog import Catalog
from servey.core.errors import ConfigError
from servey.core.triggers import CronTrigger, FixedRateTrigger
from servey.http.hosts import HostCheck
from servey.layout.frame import Frame
from servey.layout.page import accepts_html, shipped_page
from servey.project import load_project
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

BLOCKED_SECONDS = 0.25
"""How long the event loop may not run before the call that blocks it is named."""
_PROBE_SECONDS = 0.1
_REFRESH = '<meta http-equiv="refresh" content="2">'
_MEMORY = "_SERVEY_DEV_MEMORY"
"""The variable of the file in which a reload finds what was loaded before; not one of the settings."""
_MOST_NAMES = 5
_COLORS = {"red": "31", "green": "32", "cyan": "36"}


def dev_app() -> Any:
    """Build the app of the project in the working directory, or one that shows on every page why there is none.

    `servey dev` calls this again after each change of a file.
    """
    try:
        project = load_project()
        if project.servey is not None:
            project.servey.check_variables()
    except ConfigError as error:
        for problem in error.problems:
            print(colored(f"error: {problem}", "red"), file=sys.stderr, flush=True)
        return problems_app(error.problems)
    if project.servey is not None:
        changes = _changes(project.servey.runtime.catalog)
        print(colored(summary_of(project.servey.runtime) + changes, "green"), file=sys.stderr, flush=True)
        project.servey.runtime.services.append(naming_blocking_calls)
    return project.app


def colored(text: str, color: str) -> str:
    """Return text in a color, if standard error is a terminal that wants colors."""
    if not sys.stderr.isatty() or refuses_colors():
        return text
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m"


def refuses_colors() -> bool:
    """Whether the user wants no colors. Source: no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


@contextmanager
def remembering_reloads() -> Iterator[None]:
    """Let each reload of a development server know what the one before has loaded, if it can write temporary files."""
    with ExitStack() as stack:
        with suppress(OSError):
            folder = stack.enter_context(TemporaryDirectory(prefix="servey-dev-"))
            os.environ[_MEMORY] = str(Path(folder, "actions.json"))
        yield


def _changes(catalog: Catalog) -> str:
    """Return what has changed in the actions of a project since they were loaded before, e.g. `` (new: greet)``."""
    place = os.environ.get(_MEMORY)
    if place is None:
        return ""
    memory, now = Path(place), {action.name: _source_of(action) for action in catalog}
    before: dict[str, str] = now
    with suppress(OSError, ValueError):  # there is none at the start, and a reload may have been ended while it wrote
        before = json.loads(memory.read_text(encoding="utf-8"))
    memory.write_text(json.dumps(now), encoding="utf-8")
    changed = [name for name in now if name in before and now[name] != before[name]]
    kinds = {"new": [*(now.keys() - before.keys())], "changed": changed, "gone": [*(before.keys() - now.keys())]}
    told = [f"{kind}: {', '.join(sorted(names)[:_MOST_NAMES])}" for kind, names in kinds.items() if names]
    return f" ({'; '.join(told)})" if told else ""


def _source_of(action: Action) -> str:
    try:
        return inspect.getsource(inspect.unwrap(action.fn))
    except (OSError, TypeError):
        return ""


def summary_of(runtime: Runtime) -> str:
    """Return how much a project contains, as one line."""
    catalog = runtime.catalog
    kinds = (FixedRateTrigger, CronTrigger)
    schedules = sum(1 for kind in kinds for _ in catalog.triggered_by(kind))
    counts = {"action": len(list(catalog)), "channel": len(list(catalog.channels)), "schedule": schedules}
    loaded = {name: count for name, count in counts.items() if count}
    hint = "no actions; write one in actions.py, or name their modules in SERVEY_ACTION_PATH"
    return f"Loaded {counted(loaded) or hint}"


def counted(counts: Mapping[str, int]) -> str:
    """Return how many there are of each kind, e.g. ``1 action, 2 channels``."""
    return ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())


def problems_app(problems: Sequence[str]) -> ASGIApp:
    """Return an app that answers every request with the problems of a project; its page loads itself again."""
    items = "".join(f"<li><pre>{escape(problem)}</pre></li>" for problem in problems)
    content = (
        f"<h1>The project cannot start</h1><ul>{items}</ul>"
        "<p>Correct it and save the file; this page then shows what you asked for.</p>"
    )

    # The settings may be what is wrong, so only the names of this machine are allowed.
    check = HostCheck((), local=True)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        if not check.allows(scope):
            await check.refuse(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1012})
            return
        answer: Response
        if accepts_html(scope):
            answer = shipped_page(
                Frame("Servey"), "The project cannot start", content, kind="text", status=500, more_head=_REFRESH
            )
        else:
            answer = JSONResponse({"detail": "; ".join(problems), "code": "internal"}, 500)
        await answer(scope, receive, send)

    return serve


@asynccontextmanager
async def naming_blocking_calls(runtime: Runtime) -> AsyncIterator[None]:
    """Log each line of the project that blocks the event loop, while an app runs."""
    loop, thread, ended = asyncio.get_running_loop(), threading.get_ident(), threading.Event()
    watching = threading.Thread(target=_watch, args=(loop, thread, ended), name="servey blocking calls", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()


def _watch(loop: asyncio.AbstractEventLoop, thread: int, ended: threading.Event) -> None:
    named: set[tuple[str, int]] = set()
    while not ended.wait(_PROBE_SECONDS):
        answered = threading.Event()
        try:
            loop.call_soon_threadsafe(answered.set)
        except RuntimeError:  # the loop is closed
            return
        if answered.wait(BLOCKED_SECONDS):
            continue
        found = _place_in_project(sys._current_frames().get(thread))
        if found is not None and found[:2] not in named:
            named.add(found[:2])
            logger.warning(
                "%s:%d: %s has blocked the event loop for %g s, and no other request was served meanwhile; declare it with "
                "`def`, which runs in a thread, or await an asynchronous call",
                *found,
                BLOCKED_SECONDS,
            )
        while not answered.wait(_PROBE_SECONDS):
            if ended.is_set():
                return


def _place_in_project(frame: FrameType | None) -> tuple[str, int, str] | None:
    """Return file, line and function of the innermost frame that is the project's own code."""
    here = Path.cwd()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(here) and "site-packages" not in path.parts:
            return str(path.relative_to(here)), frame.f_lineno, frame.f_code.co_qualname
        frame = frame.f_back
    return None
