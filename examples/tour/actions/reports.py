"""Plain functions: a slow one runs in a worker thread, a fast one can run on the event loop.

Caching: the server computes a report at most once a minute for everyone, until somebody invalidates it.
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
    """Return the sales of each department. The result is cached for a minute."""
    time.sleep(0.5)  # as long as a large shop's report
    report = []
    # Copy: this runs in a thread, and the event loop may change the orders meanwhile.
    placed = [order for order in list(SHOP.orders.values()) if order.state is not OrderState.cancelled]
    for department in Department:
        lines = [line for order in placed for line in order.lines if PRODUCTS[line.product].department is department]
        total = sum((line.quantity * PRODUCTS[line.product].price for line in lines), Decimal(0))
        report.append(Sales(department, len(lines), total))
    return report


@action(triggers=WEB_POST, tags=("reports",))
def refresh_sales() -> None:
    """Remove the cached report."""
    invalidate(sales)


@action(triggers=WEB_GET, tags=("reports",))
def checksum(rounds: Annotated[int, Field(ge=1, le=20_000)] = 1000) -> str:
    """Compute something slow. In a worker thread it does not block the event loop."""
    digest = b"".join(product.name.encode() for product in PRODUCTS.values())
    for _ in range(rounds):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()


@action(triggers=WEB_GET, blocking=False, tags=("reports",))
def product_count() -> int:
    """Short and pure, so it runs on the event loop, which is faster than a thread."""
    return len(PRODUCTS)
