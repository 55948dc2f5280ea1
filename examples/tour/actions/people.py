"""Who calls: an injected authorization, a scope, a rule that looks at the parameters, the call itself."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from shop import SHOP, Order

from servey import WEB_GET, Authorization, Context, ScopeAccessControl, WebTrigger, action


@action(triggers=WEB_GET, tags=("people",))
async def who_am_i(authorization: Authorization | None) -> Authorization | None:
    """What your token says; null without one."""
    return authorization


@action(triggers=WEB_GET, tags=("people",))
async def my_orders(authorization: Authorization) -> list[Order]:
    """The caller's orders. There is no `| None`, so a token is needed."""
    return [order for order in SHOP.orders.values() if order.placed_by == authorization.subject_id]


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"), tags=("people",))
async def read_log() -> list[str]:
    """What happened lately, for those with the scope `root`."""
    return list(SHOP.log)


def is_oneself(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    """Whether the caller asks for their own things. It takes the parameters, so it runs once they are valid."""
    return authorization is not None and authorization.subject_id == params["name"]


@action(
    triggers=WebTrigger("GET", "/people/{name}/orders"),
    access_control=ScopeAccessControl("root") | is_oneself,
    tags=("people",),
)
async def orders_of(name: str, limit: Annotated[int, Field(ge=1, le=100)] = 10) -> list[Order]:
    """Somebody's orders, for themselves and for `root`."""
    return [order for order in SHOP.orders.values() if order.placed_by == name][:limit]


@action(triggers=WEB_GET, tags=("people",))
async def this_call(context: Context) -> dict[str, str]:
    """What an action can know of its call."""
    return {"via": context.via, "request_id": context.request_id}
