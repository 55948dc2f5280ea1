"""Detects that a server runs the app in several processes.

Servers do not report it, so the command lines and variables that set it are read, and sibling processes are counted.
Source: the documentation of uvicorn, gunicorn, hypercorn and granian (``-w``, ``--workers``), proc(5).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from servey.core.catalog import Catalog
from servey.core.channels import BackgroundActionChannel, WebhookEventChannel, WebsocketEventChannel
from servey.core.settings import Settings
from servey.core.triggers import CronTrigger, FixedRateTrigger

logger: logging.Logger = logging.getLogger("servey")

_SERVERS = ("uvicorn", "gunicorn", "hypercorn", "granian")
_VARIABLES = {"uvicorn": "WEB_CONCURRENCY", "gunicorn": "WEB_CONCURRENCY", "granian": "GRANIAN_WORKERS"}
_PROC = Path("/proc")


async def check_processes(settings: Settings, catalog: Catalog) -> None:
    """Log an error if several processes run the app without Redis: schedules, jobs and channels are then split."""
    if settings.is_dev or settings.redis_url is not None or settings.queue_url is not None:
        return
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        return  # each environment of a function serves one request at a time, whatever started it
    count = await asyncio.to_thread(process_count)
    if count < 2:
        return
    effects = {
        "every schedule runs in each of them": (
            *catalog.triggered_by(FixedRateTrigger),
            *catalog.triggered_by(CronTrigger),
        ),
        "events reach only the subscribers of one of them": catalog.channels_of(WebsocketEventChannel),
        "jobs and their state stay in one of them": (
            *catalog.channels_of(BackgroundActionChannel),
            *catalog.channels_of(WebhookEventChannel),
        ),
    }
    found = [effect for effect, causes in effects.items() if causes] or ["jobs and their state stay in one of them"]
    logger.error(
        "%d processes serve this app without Redis: %s; set SERVEY_REDIS_URL, or run one process",
        count,
        ", ".join(found),
    )


def process_count() -> int:
    """Return how many processes serve the app, as far as that can be seen; 1 if it is unknown."""
    lines = [sys.argv, _command_of(os.getppid())]
    counts = [1]
    for line in lines:
        server = _server_of(line)
        if server is not None:
            options = [*line, *(shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")) if server == "gunicorn" else ())]
            variable = os.environ.get(_VARIABLES.get(server, ""), "1")
            counts.append(_workers_in(options) or (int(variable) if variable.isdigit() else 1))
    counts.append(_siblings())
    return max(counts)


def _server_of(line: Sequence[str]) -> str | None:
    """Return the server that a command line starts: ``uvicorn ...`` or ``python -m uvicorn ...``."""
    for word in line[:4]:
        path = Path(word)
        name = path.parent.name if path.name == "__main__.py" else path.name
        if name in _SERVERS:
            return name
    return None


def _workers_in(options: Sequence[str]) -> int | None:
    found = re.findall(r"(?:^|\0)(?:-w|--workers)[=\0]?(\d+)(?=\0|$)", "\0".join(options))
    return int(found[-1]) if found else None


def _siblings() -> int:
    """Return the number of worker processes of the same parent, or 1 where that cannot be read."""
    processes = sys.modules.get("multiprocessing.process")  # a process that it spawned has imported it
    spawned = processes is not None and processes.parent_process() is not None
    if not spawned and "gunicorn" not in sys.modules:
        return 1
    parent = os.getppid()
    try:
        children = (_PROC / str(parent) / "task" / str(parent) / "children").read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return 1
    own = _command_of(os.getpid())
    commands = [_command_of(int(child)) for child in children]
    if spawned:
        return max(1, sum("--multiprocessing-fork" in command for command in commands) or commands.count(own))
    return max(1, commands.count(own))


def _command_of(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []
