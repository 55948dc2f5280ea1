"""A small in-memory shop, which the actions of this tour use.

Everything that clients can add to is bounded. Only the event loop changes it, so it needs no lock.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

KEPT_ORDERS = 100
HIGHEST_ORDER = 200

ProductId = Annotated[int, Field(ge=1, le=8)]
OrderId = Annotated[int, Field(ge=1, le=HIGHEST_ORDER)]


class Department(StrEnum):
    books = "books"
    garden = "garden"
    kitchen = "kitchen"


@dataclass(frozen=True)
class Product:
    id: ProductId
    name: str
    department: Department
    price: Decimal


class Line(BaseModel):
    """A quantity of one product."""

    product: ProductId
    quantity: Annotated[int, Field(ge=1, le=99)] = 1


class Address(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    street: Annotated[str, Field(min_length=1, max_length=200)]
    city: Annotated[str, Field(min_length=1, max_length=100)]


class OrderState(StrEnum):
    open = "open"
    sent = "sent"
    cancelled = "cancelled"


class Order(BaseModel):
    id: OrderId
    lines: list[Line]
    ship_to: Address
    deliver_on: date | None = None
    placed_at: datetime
    placed_by: str | None = None
    state: OrderState = OrderState.open

    @property
    def total(self) -> Decimal:
        return sum((line.quantity * PRODUCTS[line.product].price for line in self.lines), Decimal(0))


class Review(BaseModel):
    product: ProductId
    stars: Annotated[int, Field(ge=1, le=5)]
    text: Annotated[str, Field(max_length=500)] = ""
    written_on: date | None = None


PRODUCTS = {
    product.id: product
    for product in (
        Product(1, "A Pattern Language", Department.books, Decimal("59.90")),
        Product(2, "The Design of Everyday Things", Department.books, Decimal("18.50")),
        Product(3, "Structure and Interpretation", Department.books, Decimal("64.00")),
        Product(4, "Watering can", Department.garden, Decimal("24.95")),
        Product(5, "Secateurs", Department.garden, Decimal("31.00")),
        Product(6, "Chef's knife", Department.kitchen, Decimal("89.00")),
        Product(7, "Cutting board", Department.kitchen, Decimal("22.40")),
        Product(8, "Pepper mill", Department.kitchen, Decimal("45.00")),
    )
}


@dataclass
class Shop:
    """The latest orders, the latest reviews of each product, the latest lines of a log."""

    orders: dict[int, Order] = field(default_factory=dict)
    reviews: dict[int, deque[Review]] = field(default_factory=lambda: {id: deque(maxlen=20) for id in PRODUCTS})
    log: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    last_order: int = 0

    def next_order(self) -> int:
        """Return a number for an order. Numbers start again after the highest; by then the old orders are gone."""
        self.last_order = self.last_order % HIGHEST_ORDER + 1
        return self.last_order

    def keep(self, changed: Mapping[int, Order]) -> None:
        """Add orders. The oldest ones are dropped."""
        self.orders |= changed
        while len(self.orders) > KEPT_ORDERS:
            del self.orders[next(iter(self.orders))]


def _filled() -> Shop:
    shop = Shop()
    for _ in range(KEPT_ORDERS):
        number = shop.next_order()
        shop.orders[number] = Order(
            id=number,
            lines=[Line(product=number % 8 + 1)],
            ship_to=Address(name="Ada", street="1 Analytical Row", city="London"),
            placed_at=datetime(2026, 1, 1, tzinfo=UTC),
            placed_by="ada",
            state=OrderState.sent if number % 5 == 0 else OrderState.open,
        )
    return shop


SHOP = _filled()
