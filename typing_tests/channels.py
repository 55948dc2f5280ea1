"""Type checkers infer a channel's event type from its declaration. This file is type-checked, never run."""

from dataclasses import dataclass
from typing import Any, assert_type

from servey import (
    Authorization,
    EventFilterABC,
    background_action_channel,
    webhook_event_channel,
    websocket_event_channel,
)
from servey.core.channels import BackgroundActionChannel, WebhookEventChannel, WebsocketEventChannel


@dataclass
class Price:
    amount: int


messages = websocket_event_channel("messages", str)
prices = websocket_event_channel("prices", Price, history=10)
many = websocket_event_channel("many", list[Price])
either = websocket_event_channel("either", int | str)
hooks = webhook_event_channel("hooks", "https://example.com", Price, secret=None)

assert_type(messages, WebsocketEventChannel[str])
assert_type(prices, WebsocketEventChannel[Price])
assert_type(many, WebsocketEventChannel[list[Price]])
assert_type(hooks, WebhookEventChannel[Price])
messages.publish("hello", "subscriber")
messages.publish("hello", subject="u1")
messages.publish(1)  # E: an event is a str
prices.publish(Price("1"))  # E: the amount is an int
prices.publish("1")  # E: an event is a Price
many.publish([Price(1)])
either.publish(1)
hooks.publish(Price(1))
hooks.publish(1)  # E: an event is a Price
websocket_event_channel("messages", str, history="all")  # E: a number of events
websocket_event_channel(str)  # E: the name comes first


class Affordable(EventFilterABC[Price]):
    def should_publish(self, event: Price, authorization: Authorization | None) -> bool:
        return event.amount < 10


websocket_event_channel("affordable", Price, event_filter=Affordable())
websocket_event_channel("cheap", Price, event_filter=lambda event, authorization: event.amount < 5)


def resize(price: Price) -> None: ...


resized = background_action_channel(resize, delay=5)
assert_type(resized, BackgroundActionChannel[Any])
background_action_channel("resize")  # E: an action, not its name
