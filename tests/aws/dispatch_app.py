"""The app whose Lambda handler the tests call."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import BackgroundTasks, Header
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response, StreamingResponse

from servey import WEB_GET, WEB_POST, Authorization, Context, ScopeAccessControl, action
from tests.aws.gateways import GATEWAYS, Request, answer_of

LOG: list[str] = []


@action(triggers=WEB_GET)
async def double(number: int) -> int:
    return 2 * number


@action(triggers=WEB_GET)
def in_a_thread(number: int) -> int:
    return -number


@action(triggers=WEB_GET)
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)


@action(triggers=WEB_GET)
async def large(size: int) -> str:
    return "x" * size


@action(triggers=WEB_GET)
async def numbers(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


@action(triggers=WEB_GET)
async def endless() -> AsyncIterator[int]:
    try:
        while True:
            LOG.append("item")
            yield 1
    finally:
        LOG.append("closed")


@action(triggers=WEB_GET)
async def page_by_page() -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    return StreamingResponse(parts(), media_type="text/plain")


@action(triggers=WEB_GET)
async def with_background(background: BackgroundTasks) -> str:
    background.add_task(LOG.append, "background")
    return "answered"


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def how(context: Context, authorization: Authorization | None) -> list[Any]:
    return [context.via, context.trusted, authorization, context.request_id]


@action(triggers=WEB_GET)
async def needs_header(x_name: Annotated[str, Header()]) -> str:
    return x_name


@action(triggers=WEB_GET)
async def caller(request: StarletteRequest) -> str | None:
    return None if request.client is None else request.client.host


@action(triggers=WEB_GET)
async def whole() -> Response:
    return Response("whole")


@action(triggers=WEB_GET)
async def fail(how: str) -> None:
    raise RuntimeError("what went wrong")


ACTIONS = [
    double, in_a_thread, slow, large, numbers, endless, page_by_page, with_background, how, needs_header, whole, fail,
    caller,
]  # fmt: skip


class LambdaContext:
    aws_request_id = "lambda-request-1"

    def __init__(self, seconds: float = 29) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


@asynccontextmanager
async def noted_lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
    LOG.append("start")
    yield {"made": "at start"}
    LOG.append("stop")


def ask(handler: Any, target: str, gateway: str = "HTTP API", context: Any = None) -> Any:
    return answer_of(handler(GATEWAYS[gateway](Request("GET", target)), context))


def direct(handler: Any, action: Any, **params: Any) -> Any:
    return handler({"servey": {"action": action, "params": params}}, LambdaContext())
