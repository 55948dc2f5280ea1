"""The types and the work of the peers: the same objects for all of them."""

from datetime import UTC, datetime
from enum import StrEnum
from itertools import cycle

from pydantic import BaseModel


class Line(BaseModel):
    sku: str
    quantity: int
    price: float


class Order(BaseModel):
    customer: str
    lines: list[Line]


class Receipt(BaseModel):
    customer: str
    lines: list[Line]
    total: float


class User(BaseModel):
    id: int
    name: str
    email: str
    active: bool
    joined: datetime


class Kind(StrEnum):
    tools = "tools"
    toys = "toys"


class Item(BaseModel):
    kind: Kind
    id: int
    since: datetime
    limit: int
    text: str | None


class Caller(BaseModel):
    sub: str


class Reading(BaseModel):
    id: int
    place: str
    celsius: float


class Search(BaseModel):
    text: str
    limit: int = 10
    since: datetime | None = None


class Uploaded(BaseModel):
    note: str
    size: int


JOINED = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "a-secret-of-32-bytes-for-benchmarks"


def receipt_of(order: Order) -> Receipt:
    total = sum(line.quantity * line.price for line in order.lines)
    return Receipt(customer=order.customer, lines=order.lines, total=total)


# Made beforehand, as a cache or a database session would have them: to make them would be most of the work.
_POOL = cycle(
    [
        [
            User(id=number, name=f"user {number}", email=f"u{number}@example.org", active=True, joined=JOINED)
            for number in range(100)
        ]
        for _ in range(50)
    ]
)


READINGS = [
    Reading(id=number, place=f"station {number}", celsius=number / 7).model_dump(mode="json") for number in range(1000)
]


READING_MODELS = [Reading(**each) for each in READINGS]


IMAGE = b"x" * 1024


def twenty_readings() -> list[Reading]:
    """20 models with a float, in a new list."""
    return READING_MODELS[:20]


def users() -> list[User]:
    """New objects for every request."""
    return next(_POOL)
