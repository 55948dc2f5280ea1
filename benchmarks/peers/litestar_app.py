"""By hand in Litestar."""

from datetime import datetime
from typing import Annotated

import jwt
from litestar import Litestar, Request, get, post
from litestar.di import Provide
from litestar.exceptions import NotAuthorizedException
from litestar.params import Parameter
from pydantic import BaseModel
from pydantic_core import to_json

from benchmarks.peers.model import SECRET, Caller, Item, Kind, Order, Receipt, User, receipt_of, users


class Body(BaseModel):
    order: Order


@get("/actions/hello", media_type="application/json")
async def hello(name: str) -> bytes:
    return to_json(f"Hello {name}!")  # Litestar sends text as it is


@get("/actions/hello-def", media_type="application/json", sync_to_thread=True)
def hello_def(name: str) -> bytes:
    return to_json(f"Hello {name}!")


@post("/actions/place-order", status_code=200)
async def place_order(data: Body) -> Receipt:
    return receipt_of(data.order)


@get("/actions/list-users")
async def list_users() -> list[User]:
    return users()


@get("/items/{kind:str}/{id:int}")
async def get_item(
    kind: Kind, id: int, since: datetime, limit: Annotated[int, Parameter(ge=1, le=100)] = 10, text: str | None = None
) -> Item:
    return Item(kind=kind, id=id, since=since, limit=limit, text=text)


async def caller_of(request: Request) -> Caller:
    try:
        claims = jwt.decode(request.headers["authorization"][7:], SECRET, algorithms=["HS256"])
    except (KeyError, jwt.InvalidTokenError):
        raise NotAuthorizedException from None
    return Caller(sub=claims["sub"])


@get("/actions/who", dependencies={"caller": Provide(caller_of)})
async def who(caller: Caller) -> Caller:
    return caller


app = Litestar([hello, hello_def, place_order, list_users, get_item, who], openapi_config=None)
