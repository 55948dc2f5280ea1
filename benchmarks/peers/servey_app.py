"""The same as actions."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import BackgroundTasks, Body, Cookie, Depends, Form, Header, HTTPException, Query, Response, UploadFile
from pydantic import Field

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
from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    Cursor,
    Page,
    SecureHashCacheControl,
    Settings,
    TtlCacheControl,
    WebTrigger,
    action,
    create_app,
)


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


@action(triggers=WEB_GET)
async def awaits(name: str) -> str:
    await asyncio.sleep(0)
    return f"Hello {name}!"


async def greeting(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_GET)
async def depends(greeting: Annotated[str, Depends(greeting)]) -> str:
    return greeting


async def engine() -> dict[int, str]:
    return {7: "seven"}


async def session(engine: Annotated[dict[int, str], Depends(engine)]) -> AsyncIterator[dict[int, str]]:
    yield engine


@action(triggers=WEB_GET, name="session")
async def read(id: int, session: Annotated[dict[int, str], Depends(session)]) -> str:
    return session[id]


@action(triggers=WEB_GET)
async def header(accept_language: Annotated[str, Header()], theme: Annotated[str, Cookie()]) -> str:
    return f"{accept_language} {theme}"


@action(triggers=WEB_GET, cache_control=TtlCacheControl(3600))
async def ttl(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_GET, name="hash", cache_control=SecureHashCacheControl())
async def hashed(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_GET)
async def twenty() -> list[Reading]:
    return twenty_readings()


@action(triggers=WEB_GET)
async def dicts() -> list[Reading]:
    return READINGS  # type: ignore[return-value]


@action(triggers=WEB_GET)
async def lines() -> AsyncIterator[Reading]:
    for each in READING_MODELS:
        yield each


@action(triggers=WEB_GET)
async def sse() -> AsyncIterator[Reading]:
    for each in READING_MODELS:
        yield each


@action(triggers=WEB_POST)
async def upload(note: Annotated[str, Form()], file: UploadFile) -> Uploaded:
    return Uploaded(note=note, size=len(await file.read()))


@action(triggers=WEB_POST)
async def form(name: Annotated[str, Form()], age: Annotated[int, Form()]) -> str:
    return f"{name} {age}"


@action(triggers=WEB_POST)
async def part(order: Annotated[Order, Body(embed=True)]) -> str:
    return order.customer


@action(triggers=WebTrigger("GET", "/actions/search"))
async def search(search: Annotated[Search, Query()]) -> Search:
    return search


@action(triggers=WEB_GET)
async def page(after: Cursor | None = None) -> Page[Reading]:
    return Page(items=twenty_readings())


@action(triggers=WEB_GET)
async def image() -> Response:
    return Response(IMAGE, media_type="image/png")


async def nothing() -> None: ...


@action(triggers=WEB_POST)
async def background(name: str, background: BackgroundTasks) -> str:
    background.add_task(nothing)
    return name


@action(triggers=WEB_GET, cancel_on_disconnect=True)
async def cancelled(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_GET)
async def raises(name: str) -> str:
    raise HTTPException(404, "There is none")


@action(triggers=WEB_GET)
async def awaited_lines() -> AsyncIterator[Reading]:
    for each in READING_MODELS:
        await asyncio.sleep(0)
        yield each


ACTIONS = [
    hello, hello_def, place_order, list_users, get_item, who,
    awaits, depends, read, header, ttl, hashed, twenty, dicts, lines, sse, upload,
    form, part, search, page, image, background, cancelled, raises, awaited_lines,
]  # fmt: skip
SETTINGS = Settings(jwt_secret_key=SECRET)
app = create_app(actions=ACTIONS, settings=SETTINGS)
