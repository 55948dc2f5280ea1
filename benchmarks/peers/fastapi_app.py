"""By hand in FastAPI, as a good engineer writes it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import jwt
from fastapi import (
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Form,
    Header,
    HTTPException,
    Query,
    Response,
    UploadFile,
)
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel

from benchmarks.peers.model import (
    IMAGE,
    READING_MODELS,
    READINGS,
    SECRET,
    Caller,
    Item,
    Kind,
    Order,
    Reading,
    Receipt,
    Search,
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


@app.api_route("/actions/hello", methods=["GET", "HEAD"])
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


@app.post("/actions/form")
async def form(name: Annotated[str, Form()], age: Annotated[int, Form()]) -> str:
    return f"{name} {age}"


@app.post("/actions/part")
async def part(order: Annotated[Order, Body(embed=True)]) -> str:
    return order.customer


@app.get("/actions/search")
async def search(search: Annotated[Search, Query()]) -> Search:
    return search


class Page(BaseModel):
    items: list[Reading]
    next: str | None = None


@app.get("/actions/page")
async def page(after: str | None = None) -> Page:
    return Page(items=twenty_readings())


@app.get("/actions/image")
async def image() -> Response:
    return Response(IMAGE, media_type="image/png")


async def nothing() -> None: ...


@app.post("/actions/background")
async def background(name: Annotated[str, Body(embed=True)], background: BackgroundTasks) -> str:
    background.add_task(nothing)
    return name


@app.get("/actions/cancelled")
async def cancelled(name: str) -> str:
    return f"Hello {name}!"


@app.get("/actions/raises")
async def raises(name: str) -> str:
    raise HTTPException(404, "There is none")


@app.get("/actions/awaited-lines")
async def awaited_lines() -> AsyncIterator[Reading]:
    for each in READING_MODELS:
        await asyncio.sleep(0)
        yield each
