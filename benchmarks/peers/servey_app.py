"""The same as actions."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from benchmarks.peers.model import SECRET, Caller, Item, Kind, Order, Receipt, User, receipt_of, users
from servey import WEB_GET, WEB_POST, Authorization, Settings, WebTrigger, action, create_app


@action(triggers=WEB_GET)
async def hello(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_GET)
def hello_def(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_POST)
async def place_order(order: Order) -> Receipt:
    return receipt_of(order)


@action(triggers=WEB_GET)
async def list_users() -> list[User]:
    return users()


@action(triggers=WebTrigger("GET", "/items/{kind}/{id}"))
async def get_item(
    kind: Kind, id: int, since: datetime, limit: Annotated[int, Field(ge=1, le=100)] = 10, text: str | None = None
) -> Item:
    return Item(kind=kind, id=id, since=since, limit=limit, text=text)


@action(triggers=WEB_GET)
async def who(authorization: Authorization) -> Caller:
    return Caller(sub=str(authorization.subject_id))


ACTIONS = [hello, hello_def, place_order, list_users, get_item, who]
SETTINGS = Settings(jwt_secret_key=SECRET)
app = create_app(actions=ACTIONS, settings=SETTINGS)
