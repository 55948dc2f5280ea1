"""A shop as its authors wrote it for servey 5, by the old import paths."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import ClassVar

from servey.action.action import action
from servey.action.batch_invoker import BatchInvoker
from servey.action.example import Example
from servey.cache_control.secure_hash_cache_control import SecureHashCacheControl
from servey.cache_control.timestamp_cache_control import TimestampCacheControl
from servey.cache_control.ttl_cache_control import TtlCacheControl
from servey.event_channel.background.background_action_channel import background_action_channel
from servey.event_channel.websocket.event_filter_abc import EventFilterABC
from servey.event_channel.websocket.websocket_event_channel import websocket_event_channel
from servey.security.access_control.scope_access_control import ScopeAccessControl
from servey.security.authorization import Authorization
from servey.servey_web_page.redirect import Redirect
from servey.servey_web_page.web_page_trigger import WebPageTrigger
from servey.trigger.fixed_rate_trigger import FixedRateTrigger
from servey.trigger.web_trigger import WEB_GET, WEB_POST, WebTrigger, WebTriggerMethod


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Box:
    """A box, which may hold others."""

    label: str
    inner: list["Box"] = field(default_factory=list)

    @action
    def count(self) -> int:
        return 1 + sum(each.count() for each in self.inner)


@dataclass
class Order:
    amount: int = 3
    rate: float = 0.5
    gift: bool = True
    note: str | None = None


@dataclass
class Crate:
    weight: int

    calls: ClassVar[list[list[int]]] = []

    @staticmethod
    async def doubled(weights: list[int]) -> list[int]:
        Crate.calls.append(weights)
        return [weight * 2 for weight in weights]

    @action(batch_invoker=BatchInvoker(fn=doubled.__func__, arg_extractor=lambda crate: [crate.weight]))
    async def double(self) -> int:
        return self.weight * 2

    @action(name="plus", triggers=(WEB_GET,))
    def plus(self, more: int) -> int:
        return self.weight + more


@dataclass
class Stored:
    name: str
    updated_at: datetime


STORE = Box("store", [Box("left", [Box("small")]), Box("right")])
SUMS: list[int] = []


@action(triggers=WEB_GET, examples=(Example("two", params={"amount": 2}, result=2.5, description="Two of them"),))
def price(amount: int, rate: float = 1.25) -> float:
    """What some of them cost."""
    return amount * rate


@action(triggers=(WEB_POST,))
def keep(box: Box) -> str:
    return box.label


@action(triggers=(WEB_GET,))
def wrong() -> int:
    return "no number"  # type: ignore[return-value]  # the result is what the test is about


@action(triggers=(WebTrigger(WebTriggerMethod.GET, "/shelf/{row}"),))
def shelf(row: int) -> int:
    return row


@action(triggers=(WebTrigger(WebTriggerMethod.POST, "/rename/{row}"),))
def rename(row: int, name: str) -> str:
    return f"{row}:{name}"


@action(triggers=WEB_GET)
def size_of(size: Size) -> str:
    return size.name


@action(triggers=WEB_GET)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@action(triggers=WEB_GET)
def ordered(order: Order) -> Order:
    return order


@action(triggers=WEB_GET)
def find(label: str = "") -> Box | None:
    return next((box for box in [STORE, *STORE.inner] if box.label == label), None)


@action(triggers=WEB_GET)
def crates(weights: list[int]) -> list[Crate]:
    return [Crate(weight) for weight in weights]


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
def secret(word: str, auth: Authorization) -> str:
    return f"{auth.subject_id} {sorted(auth.scopes)} {word}"


@action(triggers=WEB_GET, cache_control=TtlCacheControl(30))
def cached(word: str) -> str:
    return word


@action(triggers=WEB_GET, cache_control=TimestampCacheControl())
def stored() -> Stored:
    return Stored("a", datetime(2020, 1, 1, tzinfo=UTC))


@action(triggers=WEB_GET, cache_control=SecureHashCacheControl(private=False))
def hashed() -> str:
    return "always the same"


@action(triggers=WebPageTrigger())
def add(a: int, b: int) -> int:
    return a + b


@action(triggers=WebPageTrigger())
def go(to: int) -> Redirect:
    return Redirect(f"/add?a=0&b={to}")


@action(triggers=WebPageTrigger())
def hello():
    pass


@action
async def tally(value: int):
    SUMS.append(value)


@action(triggers=(FixedRateTrigger(300),))
def ping():
    SUMS.append(0)


class Never(EventFilterABC[str]):
    def should_publish(self, event: str, authorization: Authorization | None) -> bool:
        return False


messages = websocket_event_channel("messages", str)
staff = websocket_event_channel("staff", str, access_control=ScopeAccessControl("root"))
unseen = websocket_event_channel("unseen", str, event_filter=Never())
sums = background_action_channel(tally, name="sums")
later = background_action_channel(tally, delay=1, name="later")


@action(triggers=WEB_POST)
def send(text: str) -> bool:
    for channel in (messages, staff, unseen):
        channel.publish(text)
    return True


@action(triggers=WEB_POST)
def sum_up(value: int) -> bool:
    sums.publish(value)
    later.publish(value)
    return True


TEMPLATES = {"add.j2": "The sum is {{ model }}", "go.j2": "", "hello.j2": "No model: {{ model }}"}
