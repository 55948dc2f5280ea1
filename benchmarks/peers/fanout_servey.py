"""Servey's side of the fan-out benchmark."""

import os

from benchmarks.peers.fanout_events import Event, when_told
from servey import Settings, create_app, websocket_event_channel

events = websocket_event_channel("events", Event)


async def publish(event: Event) -> None:
    await events.publish(event)


servey_app = create_app(
    channels=[events],
    settings=Settings(redis_url=os.environ.get("FANOUT_REDIS"), channel_queue=1_000_000, channel_queue_bytes=1 << 30),
    lifespan=lambda app: when_told(publish),
)
