"""``/graphql`` over a websocket, by the protocol graphql-transport-ws; the older protocol of the same library is not spoken.

Source: graphql-ws, PROTOCOL.md.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
from pydantic_core import from_json
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from servey.context import Context
from servey.errors import ActionError
from servey.graphql.engine import Engine, is_subscription
from servey.graphql.failures import request_failure
from servey.graphql.requests import Asked, asked_of
from servey.graphql.view import encoded
from servey.web import bearer_token, header, known_error, request_id_of

logger = logging.getLogger("servey")

PROTOCOL = "graphql-transport-ws"
_INIT_SECONDS = 5.0


class _Closed(Exception):
    """Why the server closes a connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def serve_socket(engine: Engine, scope: Scope, receive: Receive, send: Send) -> None:
    """Serves one connection to its end."""
    websocket = WebSocket(scope, receive, send)
    if not _origin_is_allowed(scope, engine.runtime.settings.cors_allowed_origins):
        await websocket.close()  # before it is accepted, so that it is HTTP 403
        return
    if PROTOCOL not in scope.get("subprotocols", ()):
        await websocket.accept()
        await websocket.close(4406, f"Subprotocol not acceptable; speak {PROTOCOL}")
        return
    await websocket.accept(PROTOCOL)
    await _Connection(engine, websocket).run()


def _origin_is_allowed(scope: Scope, others: tuple[str, ...]) -> bool:
    """Whether a page of that origin may connect: one of this host, or one that the settings name."""
    origin = header(scope, b"origin")
    if origin is None or origin in others or "*" in others:
        return True
    host = header(scope, b"host")
    return host is not None and origin.partition("://")[2].lower() == host.lower()


class _Connection:
    """A client, the operations that it has open, and who it is."""

    def __init__(self, engine: Engine, websocket: WebSocket) -> None:
        self._engine = engine
        self._websocket = websocket
        self._settings = engine.runtime.settings
        self._token = bearer_token(websocket.scope)
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._is_ready = False

    async def run(self) -> None:
        stopping = asyncio.create_task(self._engine.runtime.stopping.wait())
        reading = asyncio.create_task(self._read())
        code, reason = 1000, ""
        try:
            await asyncio.wait({stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                code, reason = 1012, "The server restarts; come back"
            else:
                reading.result()
        except _Closed as closed:
            code, reason = closed.code, closed.reason
        except WebSocketDisconnect:
            pass
        except Exception:
            logger.exception("a GraphQL websocket failed")
            code, reason = 1011, "Internal Server Error"
        finally:
            with anyio.CancelScope(shield=True):
                await self._end([stopping, reading])
                await self._close(code, reason)

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        tasks = [*tasks, *self._operations.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self, code: int, reason: str) -> None:
        connected = WebSocketState.CONNECTED
        if self._websocket.client_state is connected and self._websocket.application_state is connected:
            try:
                await self._websocket.close(code, reason[:120])
            except RuntimeError:
                pass  # it left in this very moment

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(_INIT_SECONDS):
                message = await self._next()
        except TimeoutError:
            raise _Closed(4408, "Connection initialisation timeout") from None
        while True:
            await self._handle(message)
            message = await self._next()

    async def _next(self) -> dict[str, Any]:
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1000))
        text = received.get("text")
        if text is None:
            raise _Closed(4400, "A message is JSON text")
        if len(text) > self._settings.max_body_bytes:
            raise _Closed(1009, f"A message may have {self._settings.max_body_bytes} characters")
        try:
            message = from_json(text, allow_inf_nan=False)
        except ValueError:
            raise _Closed(4400, "A message is JSON") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise _Closed(4400, "A message is a JSON object with a 'type'")
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
            raise _Closed(4400, f"There is no message of the type '{kind[:50]}'")

    async def _init(self, payload: Any) -> None:
        if self._is_ready:
            raise _Closed(4429, "Too many initialisation requests")
        if payload is not None and not isinstance(payload, dict):
            raise _Closed(4400, "The payload of connection_init is an object")
        for source in (payload or {}, (payload or {}).get("headers") or {}):
            for name, value in source.items() if isinstance(source, dict) else ():
                if name.lower() == "authorization" and isinstance(value, str):
                    scheme, _, token = value.partition(" ")
                    self._token = token.strip() if scheme.lower() == "bearer" else None
        self._is_ready = True
        await self._send({"type": "connection_ack"})

    def _subscribe(self, message: dict[str, Any]) -> None:
        if not self._is_ready:
            raise _Closed(4401, "Unauthorized")
        number = message.get("id")
        if not isinstance(number, str) or not number or len(number) > 200:
            raise _Closed(4400, "An operation has an 'id' that is a string")
        if number in self._operations:
            raise _Closed(4409, f"Subscriber for {number} already exists")
        if len(self._operations) >= self._settings.graphql_max_operations:
            raise _Closed(4429, f"{self._settings.graphql_max_operations} operations are open; complete one first")
        try:
            asked = asked_of(message.get("payload"))
        except ActionError as error:
            raise _Closed(4400, str(error.detail)) from None
        task = asyncio.create_task(self._run_operation(number, asked))
        self._operations[number] = task

    async def _run_operation(self, number: str, asked: Asked) -> None:
        try:
            try:
                with self._engine.runtime.in_flight.one_more() as let_go:
                    ended = await self._answer(number, asked, let_go)
            except Exception as error:
                known = known_error(error, request_id_of(self._websocket.scope), "GraphQL")
                ended = {"id": number, "type": "error", "payload": request_failure(known)["errors"]}
            # Free before it is said: a client may use the id again at once.
            if self._operations.get(number) is asyncio.current_task():
                del self._operations[number]
                await self._send(ended)
        except (RuntimeError, WebSocketDisconnect):
            pass  # the client has left

    async def _answer(self, number: str, asked: Asked, let_go: Any) -> dict[str, Any]:
        """Sends the answers; gives the message that ends the operation."""
        engine, scope = self._engine, self._websocket.scope
        document = engine.document(asked)
        if isinstance(document, dict):
            return {"id": number, "type": "error", "payload": document["errors"]}
        http = {**scope, "type": "http", "method": "GET"}
        context = Context(engine.runtime, "graphql", request_id=request_id_of(scope), token=self._token)
        async with await engine.begin(context, http, _nothing) as operation:
            if not is_subscription(document, asked):
                made: Any = await engine.execute(document, asked, operation)
            else:
                made = await engine.subscribe(document, asked, operation)
            if isinstance(made, dict):
                if "data" not in made:
                    return {"id": number, "type": "error", "payload": made["errors"]}
                await self._send({"id": number, "type": "next", "payload": made})
                return {"id": number, "type": "complete"}
            let_go()
            try:
                async for each in made:
                    await self._send({"id": number, "type": "next", "payload": each})
                    await asyncio.sleep(0)  # neither side may ever have to wait
            finally:
                await made.aclose()
        return {"id": number, "type": "complete"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(encoded(message).decode())


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}
