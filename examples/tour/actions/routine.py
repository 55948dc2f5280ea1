"""Work that nobody waits for: a job behind an event channel, and a schedule that tells somebody else's server."""

from shop import SHOP, OrderId

from servey import CronTrigger, Retry, action


@action(retry=Retry(max_tries=3), tags=("routine",))
async def pack_order(order_id: OrderId) -> str:
    """Packs an order, some time after it was placed; the channel `packing` calls it."""
    SHOP.log.append(f"order {order_id} is packed")
    return f"order {order_id} is packed"


@action(triggers=CronTrigger("0 6 * * *"), tags=("routine",))
async def tell_accounts() -> None:
    """Every morning, tells the accounts of what was ordered; see `event_channels.py`."""
    from event_channels import Takings, accounts

    await accounts.publish(Takings(orders=len(SHOP.orders), total=sum(order.total for order in SHOP.orders.values())))
