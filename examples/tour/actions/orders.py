"""Changing things: nested bodies, a unit of work, errors, work that is done after the answer."""

from collections import ChainMap
from collections.abc import AsyncIterator, Mapping, MutableMapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

from event_channels import packing
from fastapi import BackgroundTasks, Depends
from pydantic import Field
from shop import SHOP, Address, Line, Order, OrderId, OrderState

from servey import Authorization, Conflict, Example, NotFound, WebTrigger, action


async def unit_of_work() -> AsyncIterator[MutableMapping[int, Order]]:
    """The orders, to read and to change. The changes are kept when the action is through, unless it has failed."""
    orders = ChainMap[int, Order]({}, SHOP.orders)
    yield orders
    SHOP.keep(orders.maps[0])


# scope="function" ends it before the answer goes out, so that whoever reads the answer finds the order.
Orders = Annotated[MutableMapping[int, Order], Depends(unit_of_work, scope="function")]

TWO_KNIVES = {
    "lines": [{"product": 6, "quantity": 2}],
    "ship_to": {"name": "Grace", "street": "2 Compiler Lane", "city": "Arlington"},
}


def find(orders: Mapping[int, Order], order_id: int) -> Order:
    if order_id not in orders:
        raise NotFound(f"There is no order {order_id}")
    return orders[order_id]


@action(
    triggers=WebTrigger("POST", "/orders"),
    tags=("orders",),
    # Every order has its own number and time, so this one is for the documents alone.
    examples=(Example("two_knives", params=TWO_KNIVES, include_in_tests=False),),
)
async def place_order(
    lines: Annotated[list[Line], Field(min_length=1, max_length=20)],
    ship_to: Address,
    orders: Orders,
    background: BackgroundTasks,
    authorization: Authorization | None,
    deliver_on: date | None = None,
) -> Order:
    """Order something. It is noted in the log once the answer has gone out, and packed by a job a minute later."""
    order = Order(
        id=SHOP.next_order(),
        lines=lines,
        ship_to=ship_to,
        deliver_on=deliver_on,
        placed_at=datetime.now(UTC),
        placed_by=authorization.subject_id if authorization else None,
    )
    orders[order.id] = order
    background.add_task(SHOP.log.append, f"order {order.id} over {order.total}")
    await packing.publish(order.id)
    return order


@action(triggers=WebTrigger("GET", "/orders/{order_id}"), tags=("orders",))
async def get_order(order_id: OrderId) -> Order:
    """One order, by its number in the path."""
    return find(SHOP.orders, order_id)


@action(triggers=WebTrigger("GET", "/orders/{order_id}/total"), tags=("orders",))
async def order_total(order_id: OrderId) -> Decimal:
    """What an order costs. A Decimal travels as text, so that no cent is lost."""
    return find(SHOP.orders, order_id).total


@action(triggers=WebTrigger("PUT", "/orders/{order_id}/address"), tags=("orders",))
async def change_address(order_id: OrderId, ship_to: Address, orders: Orders) -> Order:
    """Send an order somewhere else. The path names the order, the body the address."""
    order = find(orders, order_id)
    if order.state is OrderState.sent:
        raise Conflict(f"Order {order_id} is on its way")
    orders[order_id] = order.model_copy(update={"ship_to": ship_to})
    return orders[order_id]


@action(triggers=WebTrigger("DELETE", "/orders/{order_id}"), tags=("orders",))
async def cancel_order(order_id: OrderId, orders: Orders) -> Order:
    """Cancel an order that has not been sent."""
    order = find(orders, order_id)
    if order.state is OrderState.sent:
        raise Conflict(f"Order {order_id} is on its way")
    orders[order_id] = order.model_copy(update={"state": OrderState.cancelled})
    return orders[order_id]
