"""``/graphql`` over a websocket: the protocol graphql-transport-ws. The older protocol graphql-ws is not supported.

Source: graphql-ws, PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import anyio
from pydantic_core import from_json
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from servey.core.context import Context
from servey.core.errors import ActionError
from servey.graphql.execution.engine import Engine, is_subscription
from servey.graphql.failures import request_failure
from servey.graphql.requests import GraphQLRequest, parse_request
from servey.graphql.view import encoded
from servey.http import close_codes, sending
from servey.http.errors import known_error
from servey.http.origins import origin_is_known, origins_allowed
from servey.http.tokens import caller_token, names_of, token_in
from servey.http.web import request_id_of

logger: logging.Logger = logging.getLogger("servey")

PROTOCOL = "graphql-transport-ws"
_INIT_SECONDS = 5.0
_CLOSE_SECONDS = 1.0
_SEND_ERRORS = (RuntimeError, WebSocketDisconnect, OSError)
"""What sending raises after the client has disconnected."""


class _Closed(Exception):
    """Raised to close the connection with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Disconnected(Exception):
    """The client has disconnected, or does not read."""


async def serve_socket(engine: Engine, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection until it closes."""
    websocket = WebSocket(scope, receive, send)
    try:
        await _handshake(engine, websocket)
    except _SEND_ERRORS:
        return  # the client has disconnected
    if websocket.application_state is WebSocketState.CONNECTED:
        await _Connection(engine, websocket).run()


async def _handshake(engine: Engine, websocket: WebSocket) -> None:
    """Accept or refuse a connection, by its origin and its subprotocols."""
    scope = websocket.scope
    if not origin_is_known(scope, origins_allowed(scope, engine.runtime)):
        await websocket.close()  # before accepting, so that the client gets HTTP 403
        return
    if PROTOCOL not in scope.get("subprotocols", ()):
        await websocket.accept()
        await websocket.close(close_codes.WRONG_SUBPROTOCOL, f"Subprotocol not acceptable; use {PROTOCOL}")
        return
    await websocket.accept(PROTOCOL)


class _Connection:
    """One client connection: its token and its open operations."""

    def __init__(self, engine: Engine, websocket: WebSocket) -> None:
        self._engine = engine
        self._websocket = websocket
        self._settings = engine.runtime.settings
        self._token = caller_token(websocket.scope, engine.runtime)
        self._headers: list[tuple[bytes, bytes]] = list(websocket.scope["headers"])
        self._operations: dict[str, asyncio.Task[Any]] = {}
        self._begun: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ready = False
        self._closing: asyncio.Future[_Closed] = asyncio.get_running_loop().create_future()

    @property
    def is_idle(self) -> bool:
        return not self._operations

    def evict(self) -> None:
        self._close_with(close_codes.TOO_MANY, "Too many connections")

    async def run(self) -> None:
        stopping = asyncio.create_task(self._engine.runtime.stopping.wait())
        reading = asyncio.create_task(self._read())
        init_timeout = asyncio.get_running_loop().call_later(_INIT_SECONDS, self._close_if_not_ready)
        self._engine.add_socket(self)
        code, reason = close_codes.NORMAL, ""
        try:
            ends: set[asyncio.Future[Any]] = {stopping, reading, self._closing}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            elif self._closing.done():
                raise self._closing.result()
            else:
                code, reason = close_codes.SERVICE_RESTART, "The server is restarting; reconnect"
        except _Closed as closed:
            code, reason = closed.code, closed.reason
        except _Disconnected:
            pass
        except Exception:
            logger.exception("a GraphQL websocket failed")
            code, reason = close_codes.INTERNAL_ERROR, "Internal Server Error"
        finally:
            init_timeout.cancel()
            self._engine.sockets.pop(self, None)
            with anyio.CancelScope(shield=True):
                await self._end([stopping, reading])
                await self._close(code, reason)

    def _close_if_not_ready(self) -> None:
        if not self._is_ready:
            self._close_with(close_codes.TOO_SLOW, "Connection initialisation timeout")

    def _close_with(self, code: int, reason: str) -> None:
        if not self._closing.done():
            self._closing.set_result(_Closed(code, reason))

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        tasks = [*tasks, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self, code: int, reason: str) -> None:
        connected = WebSocketState.CONNECTED
        if self._websocket.client_state is connected and self._websocket.application_state is connected:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._websocket.close(code, reason[:120])
            except (TimeoutError, *_SEND_ERRORS):
                pass

    async def _read(self) -> None:
        while True:
            await self._handle(await self._receive_message())

    async def _receive_message(self) -> dict[str, Any]:
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise _Disconnected
        text = received.get("text")
        if text is None:
            raise _Closed(close_codes.BAD_MESSAGE, "A message must be a text frame")
        if len(text) > self._settings.max_body_bytes:
            raise _Closed(
                close_codes.MESSAGE_TOO_BIG,
                f"A message must not be longer than {self._settings.max_body_bytes} characters",
            )
        try:
            message = from_json(text, allow_inf_nan=False)
        except ValueError:
            raise _Closed(close_codes.BAD_MESSAGE, "A message must be valid JSON") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise _Closed(close_codes.BAD_MESSAGE, "A message must be a JSON object with a string 'type'")
        return message

    async def _handle(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "connection_init":
            await self._init(message.get("payload"))
        elif kind == "ping":
            await self._send({"type": "pong", **({"payload": message["payload"]} if "payload" in message else {})})
        elif kind == "pong":
            pass
        elif kind == "subscribe":
            self._subscribe(message)
        elif kind == "complete":
            task = self._operations.pop(str(message.get("id")), None)
            if task is not None:
                task.cancel()
        else:
            raise _Closed(close_codes.BAD_MESSAGE, f"Unknown message type '{kind[:50]}'")

    async def _init(self, payload: Any) -> None:
        if self._is_ready:
            raise _Closed(close_codes.TOO_MANY, "Too many initialisation requests")
        if payload is not None and not isinstance(payload, dict):
            raise _Closed(close_codes.BAD_MESSAGE, "The payload of connection_init must be an object")
        accepted = names_of(self._engine.runtime.token_source)
        for source in (payload or {}, (payload or {}).get("headers") or {}):
            for name, value in source.items() if isinstance(source, dict) else ():
                if name.lower() in accepted and isinstance(value, str):
                    # A browser cannot send it in the handshake; security schemes of a host read it from these headers.
                    header = name.lower().encode("latin-1", "replace")
                    others = [pair for pair in self._headers if pair[0] != header]
                    self._headers = [*others, (header, value.encode("latin-1", "replace"))]
                    self._token = token_in(self._headers, self._websocket.scope, self._engine.runtime)
        self._is_ready = True
        await self._send({"type": "connection_ack"})

    def _subscribe(self, message: dict[str, Any]) -> None:
        if not self._is_ready:
            raise _Closed(close_codes.UNAUTHENTICATED, "Unauthorized")
        number = message.get("id")
        if not isinstance(number, str) or not number or len(number) > 200:
            raise _Closed(close_codes.BAD_MESSAGE, "A subscribe message needs an 'id': a string of 1 to 200 characters")
        if number in self._operations:
            raise _Closed(close_codes.ALREADY_EXISTS, f"Subscriber for {number} already exists")
        if len(self._operations) >= self._settings.graphql_max_operations:
            raise _Closed(
                close_codes.TOO_MANY,
                f"{self._settings.graphql_max_operations} operations are already open; complete one first",
            )
        try:
            request = parse_request(message.get("payload"))
        except ActionError as error:
            raise _Closed(close_codes.BAD_MESSAGE, str(error.detail)) from None
        task = asyncio.create_task(self._run_operation(number, request))
        if self._begun is not task:  # an eager task has begun, and perhaps released its id
            self._operations[number] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_operation(self, number: str, request: GraphQLRequest) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._operations[number] = self._begun = task
        try:
            try:
                with self._engine.runtime.in_flight.count_call() as release:
                    ended = await self._execute(number, request, release)
            except _Disconnected:
                raise
            except Exception as error:
                known = known_error(
                    error, self._engine.runtime, request_id_of(self._websocket.scope), "GraphQL", "graphql"
                )
                ended = {"id": number, "type": "error", "payload": request_failure(known)["errors"]}
            # Release the id first: the client may reuse it as soon as it receives the message.
            if self._operations.get(number) is task:
                del self._operations[number]
                await self._send(ended)
        except _Disconnected:
            pass

    async def _execute(self, number: str, request: GraphQLRequest, release: Any) -> dict[str, Any]:
        """Send the results and return the message that ends the operation."""
        engine, scope = self._engine, self._websocket.scope
        document = engine.document(request)
        if isinstance(document, dict):
            return {"id": number, "type": "error", "payload": document["errors"]}
        http = {**scope, "type": "http", "method": "GET", "headers": self._headers}
        context = Context(engine.runtime, "graphql", request_id=request_id_of(scope), token=self._token)
        async with (
            await engine.start_operation(context, http, _receive_empty_body) as operation,
            AsyncExitStack() as stack,
        ):
            if not is_subscription(document, request):
                made: Any = await engine.execute(document, request, operation)
            else:
                stack.enter_context(engine.count_subscription())
                made = await engine.subscribe(document, request, operation)
            if isinstance(made, dict):
                if "data" not in made:
                    return {"id": number, "type": "error", "payload": made["errors"]}
                await self._send({"id": number, "type": "next", "payload": made})
                return {"id": number, "type": "complete"}
            release()
            try:
                async for each in made:
                    await self._send({"id": number, "type": "next", "payload": each})
                    await asyncio.sleep(0)  # neither the source nor the send may ever yield to the event loop
            finally:
                await made.aclose()
        return {"id": number, "type": "complete"}

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(sending.STALLED_SECONDS):
                await self._websocket.send_text(encoded(message).decode())
        except TimeoutError:
            self._close_with(close_codes.TOO_SLOW, "The client does not read")
            raise _Disconnected from None
        except _SEND_ERRORS:
            raise _Disconnected from None


async def _receive_empty_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}
