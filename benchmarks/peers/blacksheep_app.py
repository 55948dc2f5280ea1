"""By hand in BlackSheep, with pydantic where there is something to validate."""

import jwt
from blacksheep import Application, Content, FromJSON, Request, Response, get, post
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from benchmarks.peers.model import SECRET, Caller, Item, Order, User, receipt_of, users

USERS = TypeAdapter(list[User])
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
