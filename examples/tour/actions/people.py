"""The caller: an injected authorization, a scope, an access rule that uses the parameters, the call's context."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from shop import SHOP, Order

from servey import WEB_GET, Authorization, Context, ScopeAccessControl, WebTrigger, action


@action(triggers=WEB_GET, tags=("people",))
async def who_am_i(authorization: Authorization | None) -> Authorization | None:
    """Return the claims of your token, or null without a token."""
    return authorization


@action(triggers=WEB_GET, tags=("people",))
async def my_orders(authorization: Authorization) -> list[Order]:
    """Return the caller's orders. The annotation has no `| None`, so a token is required."""
    return [order for order in SHOP.orders.values() if order.placed_by == authorization.subject_id]


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"), tags=("people",))
async def read_log() -> list[str]:
    """Return the latest log lines. Requires the scope `root`."""
    return list(SHOP.log)


def is_oneself(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    """Return whether the caller asks for their own data. The rule uses the parameters, so it runs after validation."""
    return authorization is not None and authorization.subject_id == params["name"]


@action(
    triggers=WebTrigger("GET", "/people/{name}/orders"),
    access_control=ScopeAccessControl("root") | is_oneself,
    tags=("people",),
)
async def orders_of(name: str, limit: Annotated[int, Field(ge=1, le=100)] = 10) -> list[Order]:
    """Return a person's orders. Allowed for that person and for `root`."""
    return [order for order in SHOP.orders.values() if order.placed_by == name][:limit]


@action(triggers=WEB_GET, tags=("people",))
async def this_call(context: Context) -> dict[str, str]:
    """Return what the context says about this call."""
    return {"via": context.via, "request_id": context.request_id}
