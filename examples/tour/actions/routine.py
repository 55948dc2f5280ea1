"""Background work: a job behind an event channel, and a schedule that calls a webhook."""

from shop import SHOP, OrderId

from servey import CronTrigger, Retry, action


@action(retry=Retry(max_tries=3), tags=("routine",))
async def pack_order(order_id: OrderId) -> str:
    """Pack an order some time after it was placed. The channel `packing` calls this action."""
    SHOP.log.append(f"order {order_id} is packed")
    return f"order {order_id} is packed"


@action(triggers=CronTrigger("0 6 * * *"), tags=("routine",))
async def tell_accounts() -> None:
    """Send the orders to the accounts webhook every morning; see `event_channels.py`."""
    from event_channels import Takings, accounts

    await accounts.publish(Takings(orders=len(SHOP.orders), total=sum(order.total for order in SHOP.orders.values())))
