"""The project that the commands run in."""

SECRET = "a-secret-of-more-than-32-bytes-for-tests"

ACTIONS = '''
import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated
from fastapi import Depends, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse
from servey import *

@dataclass
class Point:
    x: int
    y: int = 0

@action(triggers=(WEB_GET, WEB_POST))
def say_hello(name: str) -> str:
    """Greet a user!"""
    return f"Hello {name}!"

@action
async def everything(p: Point, tags: list[str] = [], data: dict[str, int] = {}, points: list[Point] = [], n: int | None = None) -> dict:
    return {"p": p, "tags": tags, "data": data, "points": points, "n": n, "price": Decimal("1.10")}

@action
async def count(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number
    if upto > 2:
        raise Conflict("too far")

@action
async def forever() -> AsyncIterator[str]:
    try:
        yield "begun"
        await asyncio.sleep(3600)
    finally:
        print("closed", flush=True)

@action
def fail(how: str) -> None:
    raise NotFound("no such\\nthing") if how == "known" else ValueError("bad\\nluck")

@action(access_control=ScopeAccessControl("root"))
def only_for_root() -> str:
    return "secret data"

@action
def who(authorization: Authorization | None, context: Context) -> list[str | None]:
    return [authorization.subject_id if authorization else None, context.via]

@action
def must_know(authorization: Authorization) -> str | None:
    return authorization.subject_id

@action(triggers=WEB_GET)
def needs_request(request: Request) -> str:
    return request.url.path

def opened():
    print("opened", flush=True)
    yield 7
    print("closed", flush=True)

@action
def uses(number: Annotated[int, Depends(opened)]) -> int:
    return number

@action
def page() -> PlainTextResponse:
    return PlainTextResponse("as it is", background=BackgroundTask(print, " and after", end=""))

@action
def download() -> StreamingResponse:
    return StreamingResponse(iter([b"one ", b"two"]))

@action
def own_source() -> FileResponse:
    return FileResponse("actions.py")

@action
def gone() -> PlainTextResponse:
    return PlainTextResponse("It is gone", status_code=410)
'''
