"""By hand in BlackSheep, with pydantic where there is something to validate."""

import asyncio
from collections.abc import AsyncIterator

import jwt
from blacksheep import Application, Content, FromJSON, Request, Response, StreamedContent, get, post
from blacksheep.server.bindings import FromCookie, FromHeader
from blacksheep.server.sse import ServerSentEventsResponse, TextServerSentEvent
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from benchmarks.peers.model import (
    READING_MODELS,
    SECRET,
    Caller,
    Item,
    Order,
    Reading,
    Uploaded,
    User,
    receipt_of,
    twenty_readings,
    users,
)

USERS = TypeAdapter(list[User])
READINGS_TYPE = TypeAdapter(list[Reading])
app = Application()


class Body(BaseModel):
    order: Order


def json_response(body: bytes) -> Response:
    return Response(200, None, Content(b"application/json", body))


@get("/actions/hello")
async def hello(name: str) -> Response:
    return json_response(to_json(f"Hello {name}!"))


# It runs on the event loop, where one that blocks would stop the server.
@get("/actions/hello-def")
def hello_def(name: str) -> Response:
    return json_response(to_json(f"Hello {name}!"))


@post("/actions/place-order")
async def place_order(data: FromJSON[Body]) -> Response:
    return json_response(receipt_of(data.value.order).model_dump_json().encode())


@get("/actions/list-users")
async def list_users() -> Response:
    return json_response(USERS.dump_json(users()))


@get("/items/{kind}/{id}")
async def get_item(kind: str, id: int, since: str, limit: int = 10, text: str | None = None) -> Response:
    # BlackSheep takes a datetime for a body.
    item = Item.model_validate({"kind": kind, "id": id, "since": since, "limit": limit, "text": text})
    return json_response(item.model_dump_json().encode())


@get("/actions/who")
async def who(request: Request) -> Response:
    try:
        shown = request.get_first_header(b"authorization") or b""
        claims = jwt.decode(shown[7:].decode(), SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        return Response(401)
    return json_response(Caller(sub=claims["sub"]).model_dump_json().encode())


@get("/actions/awaits")
async def awaits(name: str) -> Response:
    await asyncio.sleep(0)
    return json_response(to_json(f"Hello {name}!"))


class FromLanguage(FromHeader[str]):
    name = "accept-language"


class FromTheme(FromCookie[str]):
    name = "theme"


@get("/actions/header")
async def header(accept_language: FromLanguage, theme: FromTheme) -> Response:
    return json_response(to_json(f"{accept_language.value} {theme.value}"))


@get("/actions/twenty")
async def twenty() -> Response:
    return json_response(READINGS_TYPE.dump_json(twenty_readings()))


@get("/actions/lines")
async def lines() -> Response:
    async def made() -> AsyncIterator[bytes]:
        for each in READING_MODELS:
            yield each.model_dump_json().encode() + b"\n"

    return Response(200, None, StreamedContent(b"application/jsonl", made))


@get("/actions/sse")
async def sse() -> ServerSentEventsResponse:
    async def made() -> AsyncIterator[TextServerSentEvent]:
        for each in READING_MODELS:
            yield TextServerSentEvent(each.model_dump_json())

    return ServerSentEventsResponse(made)


@post("/actions/upload")
async def upload(request: Request) -> Response:
    form = await request.form() or {}
    (file,) = form["file"]
    uploaded = Uploaded(note=str(form["note"]), size=len(file.data))
    return json_response(uploaded.model_dump_json().encode())
