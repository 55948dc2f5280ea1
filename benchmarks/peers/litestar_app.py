"""By hand in Litestar."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import jwt
from litestar import Litestar, Request, get, post
from litestar.datastructures import UploadFile
from litestar.di import Provide
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException
from litestar.params import Body as BodyOf
from litestar.params import Parameter
from litestar.response import ServerSentEvent, Stream
from pydantic import BaseModel
from pydantic_core import to_json

from benchmarks.peers.model import (
    READING_MODELS,
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


@get("/actions/awaits", media_type="application/json")
async def awaits(name: str) -> bytes:
    await asyncio.sleep(0)
    return to_json(f"Hello {name}!")


async def greeting_of(name: str) -> str:
    return f"Hello {name}!"


@get("/actions/depends", media_type="application/json", dependencies={"greeting": Provide(greeting_of)})
async def depends(greeting: str) -> bytes:
    return to_json(greeting)


async def engine_of() -> dict[int, str]:
    return {7: "seven"}


async def session_of(engine: dict[int, str]) -> AsyncGenerator[dict[int, str], None]:
    yield engine


@get(
    "/actions/session",
    media_type="application/json",
    dependencies={"engine": Provide(engine_of), "session": Provide(session_of)},
)
async def session(id: int, session: dict[int, str]) -> bytes:
    return to_json(session[id])


@get("/actions/header", media_type="application/json")
async def header(
    accept_language: Annotated[str, Parameter(header="accept-language")],
    theme: Annotated[str, Parameter(cookie="theme")],
) -> bytes:
    return to_json(f"{accept_language} {theme}")


@get("/actions/twenty")
async def twenty() -> list[Reading]:
    return twenty_readings()


@get("/actions/ttl", media_type="application/json", cache=3600)
async def ttl(name: str) -> bytes:
    return to_json(f"Hello {name}!")


async def readings() -> AsyncIterator[bytes]:
    for each in READING_MODELS:
        yield each.model_dump_json().encode()


@get("/actions/lines", media_type="application/jsonl")
async def lines() -> Stream:
    async def made() -> AsyncIterator[bytes]:
        async for each in readings():
            yield each + b"\n"

    return Stream(made())


@get("/actions/sse")
async def sse() -> ServerSentEvent:
    return ServerSentEvent(readings())


@dataclass
class Form:
    note: str
    file: UploadFile


@post("/actions/upload", status_code=200)
async def upload(data: Annotated[Form, BodyOf(media_type=RequestEncodingType.MULTI_PART)]) -> Uploaded:
    return Uploaded(note=data.note, size=len(await data.file.read()))


app = Litestar(
    [
        hello, hello_def, place_order, list_users, get_item, who,
        awaits, depends, session, header, twenty, ttl, lines, sse, upload,
    ],
    openapi_config=None,
)  # fmt: skip
