"""An app that covers the features of HTTP."""

import json
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated

from fastapi import Cookie, Header, Request, Response, UploadFile
from pydantic import Field

from servey import (
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    Authorization,
    Conflict,
    Context,
    NotFound,
    ScopeAccessControl,
    Settings,
    WebTrigger,
    action,
)
from servey import create_app as create

SECRET = "a-secret-of-more-than-32-bytes-for-tests"


class Color(Enum):
    red = "r"
    blue = "b"


@dataclass
class Point:
    x: int
    label: str = "none"


@action(triggers=(WEB_GET, WebTrigger("POST", "/echo"), MCP_TOOL))
async def echo(text: str = "") -> str:
    return text


@action(triggers=MCP_TOOL)
async def count(context: Context) -> int:
    context.progress(1, 2)
    return 2


@action(triggers=WebTrigger("GET", "/things/{name}/parts/{number}"))
def thing(name: str, number: int) -> list[str | int]:
    return [name, number]


@action(triggers=WebTrigger("GET", "/files/{path:path}"))
def file(path: str) -> str:
    return path


@action(triggers=WEB_GET)
async def words(words: Annotated[list[str], Field(max_length=5)], by: str = "-") -> str:
    return by.join(words)


@action(triggers=WEB_GET)
async def nested(p: Point, color: Color = Color.red) -> Point:
    return Point(p.x, f"{p.label} {color.value}")


@action(triggers=WEB_POST)
async def post_point(p: Point, due: date | None = None) -> Point:
    return p


@action(triggers=WebTrigger("PUT", "/points/{x}"))
async def put_point(x: int, label: str) -> Point:
    return Point(x, label)


@action(triggers=WebTrigger("PATCH", "/points/{x}"))
async def patch_point(x: int, label: str = "none") -> Point:
    return Point(x, label)


@action(triggers=WebTrigger("DELETE", "/points/{x}"))
async def delete_point(x: int) -> None: ...


@action(triggers=WEB_GET)
async def cookies(request: Request) -> dict[str, str]:
    return dict(request.cookies)


@action(triggers=WEB_GET)
async def one_cookie(session: Annotated[str, Cookie()]) -> str:
    return session


@action(triggers=WEB_GET)
async def set_cookies(response: Response, number: int = 2) -> int:
    for each in range(number):
        response.set_cookie(f"c{each}", f"value {each}", httponly=True)
    return number


@action(triggers=WEB_GET)
async def picture(size: int = 256) -> Response:
    return Response(bytes(number % 256 for number in range(size)), media_type="image/png")


@action(triggers=WEB_GET)
async def latin() -> Response:
    return Response("schön".encode("latin-1"), media_type="text/plain; charset=latin-1", headers={"x-name": "schön"})


@action(triggers=WEB_GET)
async def problem() -> Response:
    return Response(json.dumps({"title": "ä"}), 400, media_type="application/problem+json")


@action(triggers=WEB_GET)
async def svg() -> Response:
    return Response("<svg>ä</svg>", media_type="image/svg+xml")


@action(triggers=WEB_GET)
async def empty(status: int = 204) -> Response:
    return Response(status_code=status)


@action(triggers=WEB_GET)
async def redirect(to: str) -> Response:
    return Response(status_code=307, headers={"location": to})


@action(triggers=WEB_GET)
async def twice() -> Response:
    made = Response("x", media_type="text/plain")
    made.headers.append("vary", "Accept")
    made.headers.append("vary", "Cookie")
    return made


@action(triggers=WEB_POST)
async def upload(file: UploadFile) -> list[int]:
    return list(await file.read())


@action(triggers=WEB_POST)
async def raw(request: Request) -> list[int]:
    return list(await request.body())


@action(triggers=WEB_GET)
async def headers_seen(x_one: Annotated[str, Header()], accept_language: Annotated[str | None, Header()] = None) -> str:
    return f"{x_one} {accept_language}"


@action(triggers=WEB_GET)
async def address(request: Request) -> list[str]:
    return [request.url.path, request.url.query, request.method]


@action(triggers=WEB_GET)
async def fail(how: str) -> None:
    raise {"missing": NotFound("no such"), "conflict": Conflict("twice"), "odd": RuntimeError("secret")}[how]


@action(triggers=WEB_GET)
async def who(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
async def only_root() -> str:
    return "in"


ACTIONS = [
    echo, count, thing, file, words, nested, post_point, put_point, patch_point, delete_point, cookies, one_cookie, set_cookies,
    picture, latin, problem, svg, empty, redirect, twice, upload, raw, headers_seen, address, fail, who, only_root,
]  # fmt: skip


def create_app():
    settings = Settings(env="prod", docs=True, jwt_secret_key=SECRET, cors_allowed_origins="https://a.example")
    return create(actions=ACTIONS, settings=settings)
