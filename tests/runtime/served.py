"""`servey run` on a project, in a process of its own."""

import json

import httpx

from tests.serving import started

ACTIONS = """
import asyncio
import logging
import os
from servey import *

begun = 0

@action(triggers=WEB_GET)
async def pid() -> int:
    return os.getpid()

@action(triggers=WEB_GET)
async def slow(seconds: float) -> str:
    global begun
    begun += 1
    await asyncio.sleep(seconds)
    return "done"

@action(triggers=WEB_GET)
async def slow_ones() -> int:
    return begun

@action(triggers=WEB_POST)
async def length(text: str) -> int:
    logging.getLogger("shop").warning("measuring")
    return len(text)

@action(triggers=WEB_POST)
async def numbers(items: list[int]) -> int:
    return len(items)
"""


def served(project, port, *words, **env):
    return started(["-m", "servey", "run", "--port", str(port), *words], port, cwd=project, **env)


def lines(server):
    return [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


def status(server, path):
    try:
        return httpx.get(server.url + path, timeout=5).status_code
    except httpx.TransportError:
        return None
