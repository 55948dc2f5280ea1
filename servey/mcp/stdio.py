"""MCP over standard input and output, for an agent that starts the server as its own process.

Source: MCP 2025-11-25 and 2026-07-28, "stdio".
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import BinaryIO, TypeAlias

from servey.calls.ids import new_request_id
from servey.core.context import Context
from servey.core.errors import ActionError, InvalidParams, TooLarge
from servey.core.queues import CancelRequest
from servey.http.bodies import parse_json
from servey.http.errors import known_error
from servey.http.web import exception_of
from servey.mcp.calls import Exchange
from servey.mcp.messages import (
    INVALID_PARAMS,
    PARSE_ERROR,
    ProtocolError,
    Request,
    check_envelope,
    encode_error,
    encode_result,
    parse_message,
)
from servey.mcp.progress import progress_of, reporting
from servey.mcp.server import Server

Running: TypeAlias = dict[str | int, tuple[asyncio.Task[None], Context]]
"""The calls that run, by the ids of their requests."""


async def serve_stdio(
    server: Server, lines: BinaryIO, write: Callable[[bytes], None], *, token: str | None, trusted: bool
) -> None:
    """Answer one message per line until the input ends; calls run concurrently.

    ``trusted`` callers need no token, and access control does not apply to them.
    """
    limit = server.runtime.settings.max_body_bytes
    running: Running = {}
    received: asyncio.Queue[bytes] = asyncio.Queue()
    # A daemon thread, because nothing interrupts a thread that reads.
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read, args=(lines, limit, loop, received), daemon=True, name="servey mcp").start()
    while line := await received.get():
        try:
            request = _parsed(line, limit)
        except ActionError as error:
            write(encode_error(None, error) + b"\n")
            continue
        if request is None:
            continue
        if request.id is None:
            _cancel(request, running)
        elif request.id in running:
            write(encode_error(request.id, ProtocolError(INVALID_PARAMS, "A request with this id is running")) + b"\n")
        else:
            context = Context(server.runtime, "mcp", new_request_id(), token, trusted=trusted)
            task = asyncio.create_task(_answer(server, request, context, write))
            running[request.id] = task, context
            task.add_done_callback(partial(_forget, running, request.id))
    if running:
        await asyncio.wait([task for task, _ in running.values()])


def _read(lines: BinaryIO, limit: int, loop: asyncio.AbstractEventLoop, received: asyncio.Queue[bytes]) -> None:
    """Pass on each line, the first part of a line that is too long, and nothing at the end."""
    whole = True
    while True:
        line = lines.readline(limit + 2)
        try:
            if not line or (whole and line.strip()):
                loop.call_soon_threadsafe(received.put_nowait, line)
        except RuntimeError:
            return  # the loop is closed
        if not line:
            return
        whole = line.endswith(b"\n")


def _parsed(line: bytes, limit: int) -> Request | None:
    if len(line.rstrip(b"\n")) > limit:
        raise TooLarge(limit)
    try:
        request = parse_message(parse_json(line))
    except InvalidParams as error:
        raise ProtocolError(PARSE_ERROR, f"The line is not valid JSON: {error.detail[0]['ctx']['error']}") from None
    return request


def _forget(running: Running, id_: str | int, task: asyncio.Task[None]) -> None:
    del running[id_]


def _cancel(notification: Request, running: Running) -> None:
    id_ = notification.params.get("requestId")
    if notification.method == "notifications/cancelled" and isinstance(id_, str | int) and id_ in running:
        task, context = running[id_]
        context.cancel_request = CancelRequest(is_set=True)
        task.cancel()


async def _answer(server: Server, request: Request, context: Context, write: Callable[[bytes], None]) -> None:
    exchange = Exchange(context, progress=progress_of(request))
    is_answered = False

    async def notify(message: bytes) -> None:
        write(message + b"\n")

    try:
        with server.runtime.in_flight.count_call():
            try:
                if request.is_modern:
                    check_envelope(request)
                async with reporting(context, exchange.progress, notify):
                    members = await server.respond(request, exchange)
                write(encode_result(request.id, members, server.stamp(request)) + b"\n")
                is_answered = True
            except BaseException as error:
                await exchange.close(error)
                raise
            await exchange.close()
    except (Exception, asyncio.CancelledError) as raised:
        known = known_error(exception_of(raised), server.runtime, context.request_id, "MCP", "mcp")
        if not is_answered:
            write(encode_error(request.id, known) + b"\n")
