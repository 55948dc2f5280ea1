"""The events that open browsers receive."""

from dataclasses import dataclass

from servey import websocket_event_channel


@dataclass
class Entry:
    """One entry of the guest book."""

    name: str
    text: str


entries = websocket_event_channel("entries", Entry)
