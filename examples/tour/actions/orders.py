"""Changing things: nested bodies, a unit of work that every way of calling opens and closes, errors, background tasks."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import BackgroundTasks, Depends
from pydantic import Field
from shop import SHOP, Address, Line, Order, OrderId, OrderState, Shop

from servey import Authorization, Conflict, Example, WebTrigger, action


async def unit_of_work() -> AsyncIterator[Shop]:
    """The shop, whose orders stay as they were when the action fails."""
    with SHOP.unit_of_work() as shop:
        yield shop


Work = Annotated[Shop, Depends(unit_of_work, scope="function")]


@action(
    triggers=(WebTrigger("POST", "/orders"),),
    tags=("orders",),
    examples=(
        Example(
            name="two_knives",
            params={
                "lines": [{"product": 6, "quantity": 2}],
                "ship_to": {"name": "Grace", "street": "2 Compiler Lane", "city": "Arlington"},
            },
            include_in_tests=False,
        ),
    ),
)
async def place_order(
    lines: Annotated[list[Line], Field(min_length=1, max_length=20)],
    ship_to: Address,
    shop: Work,
    background: BackgroundTasks,
    authorization: Authorization | None,
    deliver_on: date | None = None,
) -> Order:
    """Order something. The note is written after the answer has gone out."""
    order = Order(
        id=shop.next_id(),
        lines=lines,
        ship_to=ship_to,
        deliver_on=deliver_on,
        placed_at=datetime.now(UTC),
        placed_by=authorization.subject_id if authorization else None,
    )
    shop.orders[order.id] = order
    background.add_task(shop.note, f"order {order.id} over {order.total}")
    return order


@action(triggers=WebTrigger("GET", "/orders/{order_id}"), tags=("orders",))
async def get_order(order_id: OrderId) -> Order:
    """One order."""
    return SHOP.orders[order_id]


@action(triggers=WebTrigger("GET", "/orders/{order_id}/total"), tags=("orders",))
async def order_total(order_id: OrderId) -> Decimal:
    """What an order costs; a Decimal travels as text, so that no cent is lost."""
    return SHOP.orders[order_id].total


@action(triggers=WebTrigger("PUT", "/orders/{order_id}/address"), tags=("orders",))
async def change_address(order_id: OrderId, ship_to: Address, shop: Work) -> Order:
    """Send an order somewhere else: the path names the order, the body the address."""
    order = shop.orders[order_id] = shop.orders[order_id].model_copy(update={"ship_to": ship_to})
    return order


@action(triggers=WebTrigger("DELETE", "/orders/{order_id}"), tags=("orders",))
async def cancel_order(order_id: OrderId, shop: Work) -> Order:
    """Cancel an order, once."""
    order = shop.orders[order_id]
    if order.state is OrderState.cancelled:
        raise Conflict(f"Order {order_id} is cancelled already")
    order = shop.orders[order_id] = order.model_copy(update={"state": OrderState.cancelled})
    return order
