"""By hand in FastAPI, as a good engineer writes it."""

from datetime import datetime
from typing import Annotated

import jwt
from fastapi import Body, Depends, FastAPI, HTTPException, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from benchmarks.peers.model import SECRET, Caller, Item, Kind, Order, Receipt, User, receipt_of, users

app = FastAPI()


async def caller(shown: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> Caller:
    try:
        claims = jwt.decode(shown.credentials, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Not authenticated") from None
    return Caller(sub=claims["sub"])


@app.get("/actions/who")
async def who(caller: Annotated[Caller, Depends(caller)]) -> Caller:
    return caller


@app.get("/actions/hello")
async def hello(name: str) -> str:
    return f"Hello {name}!"


@app.get("/actions/hello-def")
def hello_def(name: str) -> str:
    return f"Hello {name}!"


@app.post("/actions/place-order")
async def place_order(order: Annotated[Order, Body(embed=True)]) -> Receipt:
    return receipt_of(order)


@app.get("/actions/list-users")
async def list_users() -> list[User]:
    return users()


@app.get("/items/{kind}/{id}")
async def get_item(
    kind: Kind, id: int, since: datetime, limit: Annotated[int, Query(ge=1, le=100)] = 10, text: str | None = None
) -> Item:
    return Item(kind=kind, id=id, since=since, limit=limit, text=text)
