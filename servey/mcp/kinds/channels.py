"""Event channels with history as resources: their last events to read, and notices of new ones.

Source: MCP 2026-07-28, "Resources" and "Subscriptions".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from servey.core.access import ALLOW_ALL, Authorization
from servey.core.channels import WebsocketEventChannel
from servey.core.errors import ActionError, Forbidden, Restarting
from servey.core.messages import Position
from servey.core.process import Process
from servey.events.items import Event, Item
from servey.events.subscriptions import Subscription, open_subscription
from servey.mcp.messages import META_SUBSCRIPTION, Request, members_of

_PAUSE_SECONDS = 0.1
_TRIES = 3


@dataclass(frozen=True)
class ChannelResource:
    """A channel as a resource."""

    channel: WebsocketEventChannel[Any]

    @property
    def uri(self) -> str:
        """The address of the last events."""
        return f"events:///{quote(self.channel.name)}"

    @property
    def is_guarded(self) -> bool:
        """Whether access is restricted."""
        return self.channel.access_control is not ALLOW_ALL

    @property
    def described(self) -> dict[str, Any]:
        """The resource as lists show it."""
        about = (
            self.channel.description or f"The last {self.channel.history} events of the channel {self.channel.name}."
        )
        return {"uri": self.uri, "name": self.channel.name, "description": about, "mimeType": "application/json"}

    async def read(self, process: Process, authorization: Authorization | None, *, trusted: bool) -> bytes:
        """Return the JSON members with the last events that a caller may see, oldest first; see `open_subscription`.

        Errors: Unauthenticated, Forbidden, Overloaded.
        """
        items: list[Item] = []
        for _ in range(_TRIES):
            now = (await process.bus.recall(self.channel.name, None)).position
            after = Position(now.epoch, max(now.offset - self.channel.history, 0)).cursor
            opened = await open_subscription(process, self.channel.name, authorization, after=after, trusted=trusted)
            items = opened.take_queued()
            opened.close()
            if opened.recovered:  # or else events have been published in between
                break
        last = [each.payload for each in items if isinstance(each, Event)][-self.channel.history :]
        events = b"[" + b",".join(last) + b"]"
        return members_of({"contents": [{"uri": self.uri, "mimeType": "application/json", "text": events.decode()}]})


async def listen(
    process: Process,
    resources: Iterable[ChannelResource],
    request: Request,
    authorization: Authorization | None,
    notify: Callable[[bytes], Awaitable[object]],
) -> bytes:
    """Tell a client about new events of channels until the process stops; return the JSON members of the result.

    What the caller may not read is left out of what it gets; if nothing is left, this returns at once.
    Errors: Unauthenticated for a caller without a valid token, or once it has expired; TooSlow, Overloaded.
    """
    meta = {META_SUBSCRIPTION: request.id}

    async def tell(method: str, params: dict[str, Any]) -> None:
        await notify(to_json({"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}}))

    async with AsyncExitStack() as stack:
        opened: dict[str, Subscription] = {}
        for each in resources:
            with suppress(Forbidden):
                opened[each.uri] = await open_subscription(process, each.channel.name, authorization)
                stack.callback(opened[each.uri].close)
        changed, changes, ended = asyncio.Event(), dict[str, None](), list[ActionError]()
        for uri, subscription in opened.items():

            def deliver(_: Any, uri: str = uri) -> None:
                changes[uri] = None
                changed.set()

            def end(error: ActionError) -> None:
                ended.append(error)
                changed.set()

            subscription.attach(deliver, end)
        agreed = {"resourceSubscriptions": list(opened)} if opened else {}
        await tell("notifications/subscriptions/acknowledged", {"notifications": agreed})
        while opened and not ended:  # without a subscription nothing would ever end it
            await changed.wait()
            changed.clear()
            for uri in [*changes]:
                del changes[uri]
                await tell("notifications/resources/updated", {"uri": uri})
            await asyncio.sleep(_PAUSE_SECONDS)  # for all events of this time, one notice
    if ended and not isinstance(ended[0], Restarting):
        raise ended[0]
    return members_of({})
