"""By hand in Starlette, with pydantic where there is something to validate."""

import jwt
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.peers.model import SECRET, Caller, Item, Order, User, receipt_of, users

BODY = TypeAdapter(dict[str, Order])
USERS = TypeAdapter(list[User])
TEXT = TypeAdapter(str)


def json_response(content: bytes) -> Response:
    return Response(content, media_type="application/json")


async def hello(request: Request) -> Response:
    return json_response(TEXT.dump_json(f"Hello {request.query_params['name']}!"))


async def hello_def(request: Request) -> Response:
    text = await run_in_threadpool(lambda: f"Hello {request.query_params['name']}!")
    return json_response(TEXT.dump_json(text))


async def place_order(request: Request) -> Response:
    order = BODY.validate_json(await request.body())["order"]
    return json_response(receipt_of(order).model_dump_json().encode())


async def list_users(request: Request) -> Response:
    return json_response(USERS.dump_json(users()))


async def get_item(request: Request) -> Response:
    item = Item.model_validate({"text": None, **request.path_params, **request.query_params})
    return json_response(item.model_dump_json().encode())


async def who(request: Request) -> Response:
    try:
        claims = jwt.decode(request.headers["authorization"][7:], SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        return Response(status_code=401)
    return json_response(Caller(sub=claims["sub"]).model_dump_json().encode())


app = Starlette(
    routes=[
        Route("/actions/hello", hello),
        Route("/actions/hello-def", hello_def),
        Route("/actions/place-order", place_order, methods=["POST"]),
        Route("/actions/list-users", list_users),
        Route("/actions/who", who),
        Route("/items/{kind}/{id}", get_item),
    ]
)
