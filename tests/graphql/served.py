"""The app that the websocket tests serve."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from servey import WEB_GET, WEB_POST, Authorization, ScopeAccessControl, Settings, action, create_app
from servey import websocket_event_channel as channel_of
from tests.graphql.graphql_client import SECRET

OPEN: list[str] = []


@dataclass
class Tick:
    number: int

    @action
    async def twice(self) -> int:
        return self.number * 2


@action(triggers=WEB_GET)
async def count(upto: int, pause: float = 0) -> AsyncIterator[Tick]:
    OPEN.append("count")
    try:
        for number in range(upto):
            await asyncio.sleep(pause)
            yield Tick(number)
    finally:
        OPEN.remove("count")


@action(triggers=WEB_GET)
async def open_streams() -> int:
    return len(OPEN)


@action(triggers=WEB_GET)
async def who(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
async def secret_count(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


def only_mine(event: Tick, authorization: Authorization | None) -> bool:
    return event.number >= 0 or (authorization is not None and authorization.has_scope("root"))


ticks = channel_of("ticks", Tick, event_filter=only_mine, description="Every tick.")
guarded = channel_of("guarded_ticks", Tick, access_control=ScopeAccessControl("root"))


@action(triggers=WEB_POST)
async def tick(number: int, subscriber_id: str | None = None) -> bool:
    await ticks.publish(Tick(number), subscriber_id)
    await guarded.publish(Tick(number))
    return True


def app(**settings):
    values = {"env": "dev", "jwt_secret_key": SECRET} | settings
    actions = [count, open_streams, who, secret_count, tick]
    return create_app(actions=actions, channels=[ticks, guarded], settings=Settings(**values))
