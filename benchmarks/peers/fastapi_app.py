"""By hand in FastAPI, as a good engineer writes it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import jwt
from fastapi import Body, Cookie, Depends, FastAPI, Form, Header, HTTPException, Query, UploadFile
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.sse import EventSourceResponse

from benchmarks.peers.model import (
    READING_MODELS,
    READINGS,
    SECRET,
    Caller,
    Item,
    Kind,
    Order,
    Reading,
    Receipt,
    Uploaded,
    User,
    receipt_of,
    twenty_readings,
    users,
)

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


@app.get("/actions/awaits")
async def awaits(name: str) -> str:
    await asyncio.sleep(0)
    return f"Hello {name}!"


async def greeting(name: str) -> str:
    return f"Hello {name}!"


@app.get("/actions/depends")
async def depends(greeting: Annotated[str, Depends(greeting)]) -> str:
    return greeting


async def engine() -> dict[int, str]:
    return {7: "seven"}


async def session(engine: Annotated[dict[int, str], Depends(engine)]) -> AsyncIterator[dict[int, str]]:
    yield engine


@app.get("/actions/session")
async def read(id: int, session: Annotated[dict[int, str], Depends(session)]) -> str:
    return session[id]


@app.get("/actions/header")
async def header(accept_language: Annotated[str, Header()], theme: Annotated[str, Cookie()]) -> str:
    return f"{accept_language} {theme}"


@app.get("/actions/ttl")
async def ttl(name: str) -> str:
    return f"Hello {name}!"


@app.get("/actions/hash")
async def hashed(name: str) -> str:
    return f"Hello {name}!"


@app.get("/actions/twenty")
async def twenty() -> list[Reading]:
    return twenty_readings()


@app.get("/actions/dicts", response_model=list[Reading])
async def dicts() -> list[dict[str, object]]:
    return READINGS


@app.get("/actions/lines")
async def lines() -> AsyncIterator[Reading]:
    for each in READING_MODELS:
        yield each


@app.get("/actions/sse", response_class=EventSourceResponse)
async def sse() -> AsyncIterator[Reading]:
    for each in READING_MODELS:
        yield each


@app.post("/actions/upload")
async def upload(note: Annotated[str, Form()], file: UploadFile) -> Uploaded:
    return Uploaded(note=note, size=len(await file.read()))
