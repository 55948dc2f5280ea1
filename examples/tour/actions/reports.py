"""Plain functions: one that takes its time gets a worker thread, one that is over at once needs none.

And caching: a report that the server makes once a minute for everyone, until somebody wants it fresh.
"""

import hashlib
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from shop import PRODUCTS, SHOP, Department, OrderState

from servey import WEB_GET, WEB_POST, TtlCacheControl, action, invalidate


@dataclass(frozen=True)
class Sales:
    department: Department
    orders: int
    sum: Decimal


@action(triggers=WEB_GET, timeout=5, tags=("reports",), cache_control=TtlCacheControl(60, private=False))
def sales() -> list[Sales]:
    """What each department has sold, as of a minute ago at most."""
    time.sleep(0.5)  # what a large shop's would take
    report = []
    # A copy, since this runs in a thread, and the event loop may change the orders meanwhile.
    placed = [order for order in list(SHOP.orders.values()) if order.state is not OrderState.cancelled]
    for department in Department:
        lines = [line for order in placed for line in order.lines if PRODUCTS[line.product].department is department]
        total = sum((line.quantity * PRODUCTS[line.product].price for line in lines), Decimal(0))
        report.append(Sales(department, len(lines), total))
    return report


@action(triggers=WEB_POST, tags=("reports",))
def refresh_sales() -> None:
    """Have the server forget the report that it has kept."""
    invalidate(sales)


@action(triggers=WEB_GET, tags=("reports",))
def checksum(rounds: Annotated[int, Field(ge=1, le=20_000)] = 1000) -> str:
    """A computation that would hold up everyone else on the event loop; in its thread it does not."""
    digest = b"".join(product.name.encode() for product in PRODUCTS.values())
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


@action(triggers=WEB_GET, blocking=False, tags=("reports",))
def product_count() -> int:
    """Over at once and pure, so it may run in place, which saves the way to a thread."""
    return len(PRODUCTS)
