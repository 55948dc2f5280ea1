"""The app that the tests of event channels serve."""

import os
from typing import Any

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    ScopeAccessControl,
    action,
    create_app,
    websocket_event_channel,
)


def _visible(event: int, authorization: Authorization | None) -> bool:
    return event < 100 or (authorization is not None and authorization.has_scope("read"))


plain = websocket_event_channel("plain", dict[str, Any], description="Anything at all.")
kept = websocket_event_channel("kept", int, history=1000)
guarded = websocket_event_channel("guarded", int, access_control=ScopeAccessControl("read"), history=50)
filtered = websocket_event_channel("filtered", int, event_filter=_visible, history=50)
CHANNELS = {channel.name: channel for channel in (plain, kept, guarded, filtered)}


@action(triggers=WEB_POST)
async def publish(channel: str, event: Any, subscriber_id: str | None = None, subject: str | None = None) -> None:
    await CHANNELS[channel].publish(event, subscriber_id, subject=subject)


@action(triggers=WEB_POST)
def publish_many(channel: str, events: list[int]) -> None:
    for event in events:
        CHANNELS[channel].publish(event)


@action(triggers=WEB_GET)
async def state() -> dict[str, int]:
    runtime = servey_app.runtime
    return {"subscriptions": runtime.subscriptions.count, "pid": os.getpid()}


servey_app = create_app(actions=[publish, publish_many, state], channels=list(CHANNELS.values()))
