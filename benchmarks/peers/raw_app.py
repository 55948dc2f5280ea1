"""A bare ASGI callable with pydantic by hand: the lower bound for every framework."""

from typing import Any
from urllib.parse import parse_qsl

import jwt
from pydantic import TypeAdapter
from pydantic_core import to_json

from benchmarks.peers.model import SECRET, Caller, Item, Order, Receipt, User, receipt_of, users

BODY = TypeAdapter(dict[str, Order]).validator.validate_json
RECEIPT, ITEM, CALLER = (TypeAdapter(each).serializer.to_json for each in (Receipt, Item, Caller))
USERS = TypeAdapter(list[User]).serializer.to_json


def query_of(scope: dict[str, Any]) -> dict[str, str]:
    return dict(parse_qsl(scope["query_string"].decode()))


async def answer(send: Any, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await answer(send, to_json(f"Hello {query_of(scope)['name']}!"))


async def place_order(scope: dict[str, Any], receive: Any, send: Any) -> None:
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    await answer(send, RECEIPT(receipt_of(BODY(body)["order"])))


async def list_users(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await answer(send, USERS(users()))


async def get_item(scope: dict[str, Any], receive: Any, send: Any) -> None:
    _, _, kind, id = scope["path"].split("/")
    await answer(send, ITEM(Item.model_validate({"text": None, "kind": kind, "id": id, **query_of(scope)})))


async def who(scope: dict[str, Any], receive: Any, send: Any) -> None:
    shown = next(value for name, value in scope["headers"] if name == b"authorization")
    claims = jwt.decode(shown[7:].decode(), SECRET, algorithms=["HS256"])
    await answer(send, CALLER(Caller(sub=claims["sub"])))


ROUTES = {
    "/actions/hello": hello,
    "/actions/hello-def": hello,
    "/actions/place-order": place_order,
    "/actions/list-users": list_users,
    "/actions/who": who,
}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await ROUTES.get(scope["path"], get_item)(scope, receive, send)
