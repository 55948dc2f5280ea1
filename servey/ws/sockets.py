"""Websocket connections of event channels: ``/subscription`` for many channels, ``/subscription/{channel}`` for one.

A connection costs one task, which reads. It sends through a `Sender`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from servey.core.access import Authorization
from servey.core.errors import (
    ActionError,
    Conflict,
    Forbidden,
    InvalidParams,
    NotFound,
    Overloaded,
    Restarting,
    ServeyError,
    Unauthenticated,
    internal_error,
)
from servey.events.items import Item, Lost
from servey.events.subscriptions import Subscription, authorize_subscriber, open_subscription
from servey.http import close_codes
from servey.http.origins import origin_is_known, origins_allowed
from servey.http.tokens import caller_token
from servey.observability.metrics import SUBSCRIBERS_DROPPED
from servey.runtime.runtime import Runtime
from servey.ws.frames import (
    SUBPROTOCOL,
    ClientFrame,
    close_reason,
    error_frame,
    invalid_frame,
    read_frame,
    server_frame,
    token_of,
)
from servey.ws.senders import Sender, sender_of

logger: logging.Logger = logging.getLogger("servey")

_BATCH = 100


@dataclass
class Connections:
    """The open websockets and event streams of this process.

    Shape: ``count`` includes connections whose token is still being verified.
    """

    runtime: Runtime
    open: set[Socket] = field(default_factory=set)
    count: int = 0
    _watch: asyncio.Task[None] | None = None

    @contextmanager
    def count_one(self) -> Iterator[None]:
        """Count one connection towards the limit. Errors: Overloaded; Restarting if shutdown was requested."""
        if self.runtime.stopping.is_set():
            raise Restarting()
        if self.count >= self.runtime.settings.channel_connections:
            raise Overloaded("Too many subscribers are connected to this process; try again later")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    def add(self, socket: Socket) -> None:
        """Register a socket, to be closed when shutdown is requested."""
        self.open.add(socket)
        if self._watch is None:
            self._watch = asyncio.create_task(self._close_when(self.runtime.stopping), name="end of websockets")

    async def _close_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        for number, socket in enumerate(tuple(self.open)):
            try:
                socket.sender.close(close_codes.SERVICE_RESTART, "The server restarts; reconnect")
            except Exception:
                logger.exception("closing a websocket failed")
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self, runtime: Runtime) -> AsyncIterator[None]:
        """Close the sockets at shutdown."""
        try:
            yield
        finally:
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.gather(self._watch, return_exceptions=True)
                self._watch = None


class Socket:
    """One accepted connection."""

    __slots__ = ("_idle", "_receive", "_runtime", "authorization", "sender", "subscriptions")

    def __init__(self, runtime: Runtime, receive: Receive, sender: Sender, authorization: Authorization | None) -> None:
        self._runtime = runtime
        self._receive = receive
        self.sender: Sender = sender
        self.authorization = authorization
        self.subscriptions: dict[str, Subscription] = {}
        self._idle: asyncio.TimerHandle | None = None

    async def serve_one(self, channel: str, subscriber_id: str | None) -> None:
        """Send the bare events of one channel until the client leaves; frames from the client are ignored.

        Errors: ActionError if it may not subscribe.
        """
        opened = await open_subscription(self._runtime, channel, self.authorization, subscriber_id=subscriber_id)
        self.subscriptions[channel] = opened
        opened.attach(self.sender.bare(), self._end)
        while (await self._receive())["type"] != "websocket.disconnect":
            pass

    async def serve_many(self) -> None:
        """Answer the client's frames until it leaves."""
        limit = self._runtime.settings.channel_frame_bytes
        self._watch_idle()
        while (message := await self._receive())["type"] != "websocket.disconnect":
            await asyncio.sleep(0)  # neither receiving nor sending may yield to the event loop
            try:
                frame = read_frame(message.get("text"), limit)
            except ActionError as error:
                await self.sender.send_text(error_frame(error))
                continue
            try:
                await self._answer(frame)
            except Exception as error:
                shown = None if frame.type == "Authorize" else frame.payload[:128]
                await self.sender.send_text(error_frame(_client_error(error), shown))
            self._watch_idle()

    def closing(self) -> None:
        """End the subscriptions, and count those of a client that was too slow."""
        if self.sender.closed_with == close_codes.TOO_SLOW:
            for channel in self.subscriptions:
                self._runtime.metrics.add(SUBSCRIBERS_DROPPED, channel, "slow")
        self.leave()

    def leave(self) -> None:
        """End the subscriptions."""
        if self._idle is not None:
            self._idle.cancel()
        for subscription in self.subscriptions.values():
            subscription.close()
        self.subscriptions.clear()

    async def _answer(self, frame: ClientFrame) -> None:
        if frame.type == "Authorize":
            await self._authorize(frame.payload)
        elif frame.type == "Unsubscribe":
            subscription = self.subscriptions.pop(frame.payload, None)
            if subscription is None:
                raise NotFound("This socket is not subscribed to that channel")
            subscription.close()
            await self.sender.send_text(server_frame("Unsubscribed", channel=frame.payload))
        else:
            await self._subscribe(frame)

    async def _subscribe(self, frame: ClientFrame) -> None:
        channel = frame.payload
        if channel in self.subscriptions:
            raise Conflict("This socket is already subscribed to that channel")
        limit = self._runtime.settings.channel_per_socket
        if len(self.subscriptions) >= limit:
            raise Overloaded(f"A socket can subscribe to at most {limit} channels")
        opened = await open_subscription(
            self._runtime, channel, self.authorization, subscriber_id=frame.subscriber_id, after=frame.after
        )
        self.subscriptions[channel] = opened
        subscribed = server_frame(
            "Subscribed",
            channel=channel,
            cursor=opened.cursor,
            recovered=opened.recovered,
            subscriber_id=opened.subscriber_id,
        )
        await self.sender.send_text(subscribed)
        # Replayed events are sent as fast as the client reads; only live events count towards the limit for slow clients.
        while opened.replay:
            await self.sender.send_event(opened.replay.pop(0))
        opened.attach(self._deliver_to(channel), self._end)

    def _deliver_to(self, channel: str) -> Callable[[Item], None]:
        def deliver(item: Item) -> None:
            if isinstance(item, Lost):
                subscribed = server_frame("Subscribed", channel=channel, cursor=item.cursor, recovered=False)
                self.sender.put_text(subscribed)
            else:
                self.sender.put_event(item)

        return deliver

    async def _authorize(self, token: str) -> None:
        try:
            authorization = await authorize_subscriber(self._runtime, token)
            if authorization is None:
                raise Unauthenticated()
        except Unauthenticated as error:
            self._end(error)
            return
        if self.authorization is not None and self.authorization.subject_id != authorization.subject_id:
            raise Forbidden("The token belongs to another subject; open another socket for it")
        self.authorization = authorization
        await self.sender.send_text(server_frame("Authorized"))
        for channel, subscription in tuple(self.subscriptions.items()):
            try:
                await subscription.reauthorize(authorization)
            except ActionError as error:
                subscription.close()
                self.subscriptions.pop(channel, None)
                await self.sender.send_text(error_frame(error, channel))
                await self.sender.send_text(server_frame("Unsubscribed", channel=channel))

    def _end(self, error: ActionError) -> None:
        self.sender.close(close_codes.BY_ERROR_CODE.get(error.code, close_codes.SERVICE_RESTART), close_reason(error))

    def _watch_idle(self) -> None:
        if self.subscriptions and self._idle is not None:
            self._idle.cancel()
            self._idle = None
        elif not self.subscriptions and self._idle is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(
                self._runtime.settings.channel_idle, self.sender.close, close_codes.NORMAL, "No subscription"
            )


async def serve_socket(connections: Connections, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one websocket."""
    task = asyncio.current_task()
    assert task is not None
    if (await receive())["type"] != "websocket.connect":
        return  # the client has left already
    try:
        await _serve(connections, scope, receive, send, task)
    except OSError:
        pass  # the client has left during the handshake


async def _serve(connections: Connections, scope: Scope, receive: Receive, send: Send, task: asyncio.Task[Any]) -> None:
    runtime = connections.runtime
    if not origin_is_known(scope, origins_allowed(scope, runtime)):
        await send({"type": "websocket.close", "code": close_codes.POLICY_VIOLATION, "reason": "foreign origin"})
        return
    subprotocols = scope.get("subprotocols") or []
    chosen = SUBPROTOCOL if SUBPROTOCOL in subprotocols else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    path: dict[str, Any] = scope.get("path_params") or {}
    sender = sender_of(scope, send, runtime.settings)
    socket: Socket | None = None
    is_stuck = False
    held = ExitStack()

    def give_up() -> None:
        nonlocal is_stuck
        is_stuck = True
        task.cancel()

    try:
        if not runtime.is_running:
            raise ServeyError("The mounted Servey app is not running; see running()")
        held.enter_context(connections.count_one())
        authorization = await authorize_subscriber(runtime, caller_token(scope, runtime) or token_of(subprotocols))
        socket = Socket(runtime, receive, sender, authorization)
        connections.add(socket)
        sender.watch(socket.closing, give_up)
        if "channel" in path:
            await socket.serve_one(path["channel"], path.get("subscriber_id"))
        else:
            await socket.serve_many()
    except asyncio.CancelledError:
        if not is_stuck:
            raise
        task.uncancel()
    except Exception as error:
        known = _client_error(error)
        await sender.refuse(close_codes.BY_ERROR_CODE.get(known.code, close_codes.INTERNAL_ERROR), close_reason(known))
    finally:
        held.close()
        if socket is not None:
            connections.open.discard(socket)
            socket.leave()
        await sender.aclose()


def _client_error(error: Exception) -> ActionError:
    """The error to show to a client."""
    if isinstance(error, InvalidParams):
        return invalid_frame(str(error))
    if isinstance(error, ActionError):
        return error
    logger.error("a subscription failed", exc_info=error)
    return internal_error()
