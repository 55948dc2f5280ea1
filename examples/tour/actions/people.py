"""Who calls: an authorization that is injected, a scope that is needed, a rule that looks at the parameters."""

from collections.abc import Mapping
from typing import Any

from shop import SHOP, Order

from servey import WEB_GET, Authorization, Context, ScopeAccessControl, WebTrigger, action


def is_oneself(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    """Whether the caller asks for their own things. It runs once the parameters are valid."""
    return authorization is not None and authorization.subject_id == params["name"]


@action(triggers=WEB_GET, tags=("people",))
async def who_am_i(authorization: Authorization | None) -> Authorization | None:
    """What your token says; nothing without one."""
    return authorization


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"), tags=("people",))
async def read_log() -> list[str]:
    """What happened in the shop lately; for those with the scope `root`."""
    return SHOP.log


@action(
    triggers=WebTrigger("GET", "/people/{name}/orders"),
    access_control=ScopeAccessControl("root") | is_oneself,
    tags=("people",),
)
async def orders_of(name: str, limit: int = 10) -> list[Order]:
    """Somebody's orders, for themselves and for `root`."""
    return [order for order in SHOP.orders.values() if order.placed_by == name][: max(0, min(limit, 100))]


@action(triggers=WEB_GET, tags=("people",))
async def this_call(context: Context) -> dict[str, str]:
    """What an action can know of its call."""
    return {"via": context.via, "request_id": context.request_id}
