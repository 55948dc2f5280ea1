"""Websocket connections of event channels: ``/subscription`` for many channels, ``/subscription/{channel}`` for one.

A connection costs one task, the one that reads. What it sends goes out through a `Sender`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from servey.access import Authorization, AuthorizationError
from servey.errors import (
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
from servey.events import Item, Lost
from servey.metrics import SUBSCRIBERS_DROPPED
from servey.origins import origin_is_known
from servey.runtime import Runtime
from servey.subscriptions import Subscription, open_subscription
from servey.web import bearer_token
from servey.ws.frames import (
    CLOSE_CODES,
    FAILED,
    IDLE,
    RESTART,
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

logger = logging.getLogger("servey")

_BATCH = 100


@dataclass
class Connections:
    """The websockets and event streams that are open in this process."""

    runtime: Runtime
    open: set[Socket] = field(default_factory=set)
    streams: int = 0
    _watch: asyncio.Task[None] | None = None

    def check_room(self) -> None:
        """Errors: Overloaded where no more may be opened; Restarting where the process is about to end."""
        if self.runtime.stopping.is_set():
            raise Restarting()
        if len(self.open) + self.streams >= self.runtime.settings.channel_connections:
            raise Overloaded("Too many subscribers are connected to this process; come back later")

    def add(self, socket: Socket) -> None:
        """Notes a socket, which is closed when the process is asked to end."""
        self.open.add(socket)
        if self._watch is None:
            self._watch = asyncio.create_task(self._close_when(self.runtime.stopping), name="websockets' end")

    async def _close_when(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        for number, socket in enumerate(tuple(self.open)):
            socket.sender.close(RESTART, "The server restarts; come back")
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self, runtime: Runtime) -> AsyncIterator[None]:
        """Watches for the process's end while the app runs."""
        try:
            yield
        finally:
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.gather(self._watch, return_exceptions=True)
                self._watch = None


class Socket:
    """One connection, from its acceptance to its end."""

    __slots__ = ("_idle", "_receive", "_runtime", "authorization", "sender", "subscriptions")

    def __init__(self, runtime: Runtime, receive: Receive, sender: Sender, authorization: Authorization | None) -> None:
        self._runtime = runtime
        self._receive = receive
        self.sender = sender
        self.authorization = authorization
        self.subscriptions: dict[str, Subscription] = {}
        self._idle: asyncio.TimerHandle | None = None

    async def serve_one(self, channel: str, subscriber_id: str | None) -> None:
        """Sends one channel's events, bare, until the client leaves; what it sends is not looked at.

        Errors: ActionError where it may not subscribe.
        """
        opened = await open_subscription(self._runtime, channel, self.authorization, subscriber_id=subscriber_id)
        self.subscriptions[channel] = opened
        opened.attach(self.sender.bare(), self._end)
        while (await self._receive())["type"] != "websocket.disconnect":
            pass

    async def serve_many(self) -> None:
        """Answers the client's frames until it leaves."""
        limit = self._runtime.settings.channel_frame_bytes
        self._watch_idle()
        while (message := await self._receive())["type"] != "websocket.disconnect":
            try:
                frame = read_frame(message.get("text"), limit)
            except ActionError as error:
                await self.sender.send_text(error_frame(error))
                continue
            try:
                await self._answer(frame)
            except Exception as error:
                shown = None if frame.type == "Authorize" else frame.payload[:128]
                await self.sender.send_text(error_frame(_known(error), shown))
            self._watch_idle()

    def closing(self) -> None:
        """Ends its subscriptions, and counts those whose client was too slow."""
        if self.sender.closed_with == CLOSE_CODES["too_slow"]:
            for channel in self.subscriptions:
                self._runtime.metrics.add(SUBSCRIBERS_DROPPED, channel, "slow")
        self.leave()

    def leave(self) -> None:
        """Ends its subscriptions."""
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
            raise Conflict("This socket is subscribed to that channel already")
        limit = self._runtime.settings.channel_per_socket
        if len(self.subscriptions) >= limit:
            raise Overloaded(f"A socket subscribes to {limit} channels at most")
        opened = await open_subscription(
            self._runtime, channel, self.authorization, subscriber_id=frame.subscriber_id, after=frame.after
        )
        self.subscriptions[channel] = opened
        told = server_frame(
            "Subscribed",
            channel=channel,
            cursor=opened.cursor,
            recovered=opened.recovered,
            subscriber_id=opened.subscriber_id,
        )
        await self.sender.send_text(told)
        # What is resumed goes out as fast as its client reads; only what is live may be dropped for being slow.
        while opened.replay:
            await self.sender.send_event(opened.replay.pop(0))
        opened.attach(self._deliver_to(channel), self._end)

    def _deliver_to(self, channel: str) -> Callable[[Item], None]:
        def deliver(item: Item) -> None:
            if isinstance(item, Lost):
                told = server_frame("Subscribed", channel=channel, cursor=item.cursor, recovered=False)
                self.sender.put_text(told)
            else:
                self.sender.put_event(item)

        return deliver

    async def _authorize(self, token: str) -> None:
        try:
            authorization = await self._runtime.authorizer.authorize(token)
        except AuthorizationError as error:
            logger.info("a token was refused: %s", error)
            self._end(Unauthenticated())
            return
        if self.authorization is not None and self.authorization.subject_id != authorization.subject_id:
            raise Forbidden("The token is another subject's; open another socket for it")
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
        self.sender.close(CLOSE_CODES.get(error.code, RESTART), close_reason(error))

    def _watch_idle(self) -> None:
        if self.subscriptions and self._idle is not None:
            self._idle.cancel()
            self._idle = None
        elif not self.subscriptions and self._idle is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(
                self._runtime.settings.channel_idle, self.sender.close, IDLE, "Nothing is subscribed to"
            )


async def serve_socket(connections: Connections, scope: Scope, receive: Receive, send: Send) -> None:
    """Serves one websocket from its handshake to its end."""
    runtime, task = connections.runtime, asyncio.current_task()
    assert task is not None
    await receive()
    if not origin_is_known(scope, runtime.settings.cors_allowed_origins):
        await send({"type": "websocket.close", "code": 1008, "reason": "foreign origin"})
        return
    subprotocols = scope.get("subprotocols") or []
    chosen = SUBPROTOCOL if SUBPROTOCOL in subprotocols else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    path: dict[str, Any] = scope.get("path_params") or {}
    sender = sender_of(scope, send, runtime.settings)
    socket: Socket | None = None
    is_stuck = False

    def give_up() -> None:
        nonlocal is_stuck
        is_stuck = True
        task.cancel()

    try:
        if not runtime.is_running:
            raise ServeyError("The mounted Servey app is not running; see running()")
        connections.check_room()
        authorization = await authorization_of(runtime, bearer_token(scope) or token_of(subprotocols))
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
        known = _known(error)
        await sender.refuse(CLOSE_CODES.get(known.code, FAILED), close_reason(known))
    finally:
        if socket is not None:
            connections.open.discard(socket)
            socket.leave()
        await sender.aclose()


def _known(error: Exception) -> ActionError:
    """What a client may know of an error."""
    if isinstance(error, InvalidParams):
        return invalid_frame(str(error))
    if isinstance(error, ActionError):
        return error
    logger.error("a subscription failed", exc_info=error)
    return internal_error()


async def authorization_of(runtime: Runtime, token: str | None) -> Authorization | None:
    """What a token says; None without one. Errors: Unauthenticated."""
    if token is None:
        return None
    try:
        return await runtime.authorizer.authorize(token)
    except AuthorizationError as error:
        logger.info("a token was refused: %s", error)
        raise Unauthenticated() from None
