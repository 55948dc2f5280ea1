"""A small shop in memory: what the actions of this tour are about."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from threading import Lock
from typing import Annotated

from pydantic import BaseModel, Field

KEPT_ORDERS = 100

ProductId = Annotated[int, Field(ge=1, le=8)]
OrderId = Annotated[int, Field(ge=1, le=KEPT_ORDERS)]
Quantity = Annotated[int, Field(ge=1, le=99)]


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
    """So many of one product."""

    product: ProductId
    quantity: Quantity = 1


class Address(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    street: Annotated[str, Field(min_length=1, max_length=200)]
    city: Annotated[str, Field(min_length=1, max_length=100)]


class OrderState(StrEnum):
    open = "open"
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
    """The last hundred orders; the oldest number is given out again."""

    orders: dict[int, Order] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    last: int = 0
    lock: Lock = field(default_factory=Lock)

    @contextmanager
    def unit_of_work(self) -> Iterator["Shop"]:
        """Orders as they were, should anything go wrong meanwhile."""
        with self.lock:
            before, last = dict(self.orders), self.last
            try:
                yield self
            except BaseException:
                self.orders, self.last = before, last
                raise

    def next_id(self) -> int:
        self.last = self.last % KEPT_ORDERS + 1
        return self.last

    def note(self, text: str) -> None:
        self.log = [*self.log[-19:], text]


SHOP = Shop()
for _ in range(KEPT_ORDERS):
    number = SHOP.next_id()
    SHOP.orders[number] = Order(
        id=number,
        lines=[Line(product=number % 8 + 1)],
        ship_to=Address(name="Ada", street="1 Analytical Row", city="London"),
        placed_at=datetime(2026, 1, 1, tzinfo=UTC),
        placed_by="ada",
    )
