"""MCP over standard input and output, for an agent that starts the server as its own process.

Source: MCP 2025-11-25 and 2026-07-28, "stdio".
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from pydantic_core import to_json

from servey.calls.ids import new_request_id
from servey.core.context import Context
from servey.core.errors import ActionError, InvalidParams, TooLarge
from servey.core.queues import CancelRequest
from servey.http.bodies import parse_json
from servey.http.errors import known_error
from servey.http.web import exception_of
from servey.mcp.calls import Exchange
from servey.mcp.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    PARSE_ERROR,
    ProtocolError,
    Request,
    Response,
    check_envelope,
    encode_error,
    parse_message,
)
from servey.mcp.progress import progress_of, reported
from servey.mcp.questions import InputRequired, answers_of, can_be_asked, checked_answers
from servey.mcp.server import Server


async def serve_stdio(
    server: Server, lines: BinaryIO, write: Callable[[bytes], None], *, token: str | None, trusted: bool
) -> None:
    """Answer one message per line until the input ends; calls run concurrently.

    ``trusted`` callers need no token, and access control does not apply to them.
    """
    limit = server.runtime.settings.max_body_bytes
    connection = _Connection(server, write, token, trusted)
    received: asyncio.Queue[bytes] = asyncio.Queue()
    # A daemon thread, because nothing interrupts a thread that reads.
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read, args=(lines, limit, loop, received), daemon=True, name="servey mcp").start()
    while line := await received.get():
        try:
            connection.accept(_parsed(line, limit))
        except ActionError as error:
            connection.write(encode_error(None, error))
    await connection.finish()


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


def _parsed(line: bytes, limit: int) -> Request | Response:
    if len(line.rstrip(b"\n")) > limit:
        raise TooLarge(limit)
    try:
        return parse_message(parse_json(line))
    except InvalidParams as error:
        raise ProtocolError(PARSE_ERROR, f"The line is not valid JSON: {error.detail[0]['ctx']['error']}") from None


class _Connection:
    """The only client: its calls that run, and the questions that it has not answered yet."""

    def __init__(self, server: Server, write: Callable[[bytes], None], token: str | None, trusted: bool) -> None:
        self._server = server
        self._write = write
        self._token = token
        self._trusted = trusted
        self._running: dict[str | int, tuple[asyncio.Task[None], CancelRequest]] = {}
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._can_be_asked = False
        self._is_open = True

    def write(self, message: bytes) -> None:
        """Write one message."""
        self._write(message + b"\n")

    def accept(self, message: Request | Response) -> None:
        """Begin to answer a request, cancel a call, or continue with an answer."""
        if isinstance(message, Response):
            waiting = self._asked.get(str(message.id))
            if waiting is not None and not waiting.done():
                waiting.set_result(message.result)
        elif message.id is None:
            self._cancel(message)
        elif message.id in self._running:
            self.write(encode_error(message.id, ProtocolError(INVALID_PARAMS, "A request with this id is running")))
        else:
            if message.method == "initialize":
                self._can_be_asked = can_be_asked(message.params.get("capabilities"))
            id_, cancel = message.id, CancelRequest()
            task = asyncio.create_task(self._answer(message, cancel))
            self._running[id_] = task, cancel
            task.add_done_callback(lambda _: self._running.pop(id_))

    def _cancel(self, notification: Request) -> None:
        id_ = notification.params.get("requestId")
        if notification.method == "notifications/cancelled" and isinstance(id_, str | int) and id_ in self._running:
            task, cancel = self._running[id_]
            cancel.set()
            task.cancel()

    async def finish(self) -> None:
        """Wait for the calls that run; nobody answers the questions of those that wait for answers."""
        self._is_open = False
        for waiting in self._asked.values():
            if not waiting.done():  # or else its answer was the last line
                waiting.set_exception(_gone())
        if self._running:
            await asyncio.wait([task for task, _ in self._running.values()])

    async def _answer(self, request: Request, cancel: CancelRequest) -> None:
        request_id = new_request_id()
        try:
            with self._server.runtime.in_flight.count_call():
                if request.is_modern:
                    check_envelope(request)
                    answers = answers_of(request)
                else:
                    answers = {} if self._can_be_asked else None
                await self._respond(request, request_id, cancel, answers)
        except (Exception, asyncio.CancelledError) as raised:
            known = known_error(exception_of(raised), self._server.runtime, request_id, "MCP", "mcp")
            self.write(encode_error(request.id, known))

    async def _respond(
        self, request: Request, request_id: str, cancel: CancelRequest, answers: Mapping[str, Any] | None
    ) -> None:
        """Write the response. The action of an older client starts again with the answer to each of its questions."""
        while True:
            context = Context(self._server.runtime, "mcp", request_id, self._token, trusted=self._trusted)
            context.cancel_request = cancel
            exchange = Exchange(context, progress=progress_of(request), answers=answers)
            try:
                call = self._server.respond(request, exchange)
                response = await reported(call, exchange.progress, self._notify)
            except InputRequired as asked:
                answers = {**asked.answers, asked.key: await self._ask(asked)}
                continue
            except BaseException as error:
                await exchange.close(error)
                raise
            self.write(response)
            try:
                await exchange.close()
            except Exception as error:
                known_error(error, self._server.runtime, request_id, "MCP", "mcp")  # it logs the error
            return

    async def _notify(self, message: bytes) -> None:
        self.write(message)

    async def _ask(self, asked: InputRequired) -> Any:
        """Send a question to an older client, and return its answer. Errors: ProtocolError."""
        if not self._is_open:
            raise _gone()
        id_ = f"question-{new_request_id()}"
        self._asked[id_] = answer = asyncio.get_running_loop().create_future()
        try:
            self.write(to_json({"jsonrpc": "2.0", "id": id_, "method": "elicitation/create", "params": asked.params}))
            return checked_answers({asked.key: await answer})[asked.key]
        finally:
            del self._asked[id_]


def _gone() -> ActionError:
    return ProtocolError(INTERNAL_ERROR, "The client has gone without an answer")
