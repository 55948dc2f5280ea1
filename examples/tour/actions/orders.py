"""Changing data: nested bodies, a unit of work, errors, background tasks."""

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
    """Yield the orders, to read and to change. The changes are saved when the action returns, unless it failed."""
    orders = ChainMap[int, Order]({}, SHOP.orders)
    yield orders
    SHOP.keep(orders.maps[0])


# scope="function" closes it before the response is sent, so the client can read the order at once.
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
    # Every order has its own number and time, so this example is for the API docs only.
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
    """Place an order. A background task logs it after the response, and a job packs it a minute later."""
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
    """Return an order by its number in the path."""
    return find(SHOP.orders, order_id)


@action(triggers=WebTrigger("GET", "/orders/{order_id}/total"), tags=("orders",))
async def order_total(order_id: OrderId) -> Decimal:
    """Return the price of an order. A Decimal is a string in JSON, so it stays exact."""
    return find(SHOP.orders, order_id).total


@action(triggers=WebTrigger("PUT", "/orders/{order_id}/address"), tags=("orders",))
async def change_address(order_id: OrderId, ship_to: Address, orders: Orders) -> Order:
    """Change the address of an order. The order is in the path, the address in the body."""
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
