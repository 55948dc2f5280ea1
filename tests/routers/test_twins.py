"""The same function behind FastAPI's own route and behind ours: the same events in the same order, the same answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import SecurityScopes
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from servey import WEB_GET, Settings, action, create_app
from servey.testing import client

LOG: list[str] = []


def dependency(
    name: str, *, opening: Exception | None = None, caught: Exception | str = "", closing: Any = None
) -> Any:
    """A `yield` dependency that logs what happens to it, and that may fail, swallow or replace an error."""

    async def opened() -> AsyncIterator[str]:
        LOG.append(f"{name} opens")
        if opening is not None:
            raise opening
        try:
            yield name
        except Exception as error:
            LOG.append(f"{name} sees {type(error).__name__}")
            if isinstance(caught, Exception):
                raise caught from error
            if caught != "swallow":
                raise
        LOG.append(f"{name} closes")
        if closing is not None:
            raise closing

    return opened


def sync_dependency() -> Iterator[str]:
    LOG.append("sync opens")
    try:
        yield "sync"
    except Exception as error:
        LOG.append(f"sync sees {type(error).__name__}")
        raise
    finally:
        LOG.append("sync closes")


plain = dependency("plain")
swallows = dependency("swallows", caught="swallow")
replaces = dependency("replaces", caught=HTTPException(409, "replaced"))
never_opens = dependency("never opens", opening=HTTPException(403, "closed"))
breaks_open = dependency("breaks open", opening=RuntimeError("open"))
breaks_late = dependency("breaks late", closing=RuntimeError("late"))
refuses_late = dependency("refuses late", closing=HTTPException(409, "late"))
variable: ContextVar[str] = ContextVar("variable", default="unset")


class Reader:
    def __init__(self, q: int = 3, x_name: Annotated[str, Header()] = "nobody") -> None:
        self.text = f"{q} {x_name}"


class Opener:
    async def __call__(self) -> AsyncIterator[str]:
        LOG.append("opener opens")
        yield "opener"
        LOG.append("opener closes")


def sets_headers(response: Response, background: BackgroundTasks) -> None:
    response.headers["X-Seen"] = "yes"
    response.set_cookie("seen", "1")
    response.status_code = 202
    background.add_task(LOG.append, "background of the dependency")


async def invalid() -> None:
    raise RequestValidationError([{"type": "own", "loc": ["query", "z"], "msg": "no", "input": 1}])


async def sets_variable() -> AsyncIterator[None]:
    token = variable.set("set")
    yield
    LOG.append(variable.get())
    variable.reset(token)


def scopes_of(scopes: SecurityScopes) -> list[str]:
    return scopes.scopes


async def body_of(request: Request) -> str:
    return (await request.body()).decode()


async def an_error_swallowed(held: Annotated[str, Depends(swallows)]) -> str:
    raise KeyError("lost")


async def a_known_error_swallowed(held: Annotated[str, Depends(swallows)]) -> str:
    raise HTTPException(404, "lost")


async def an_error_swallowed_early(held: Annotated[str, Depends(swallows, scope="function")]) -> str:
    raise HTTPException(404, "lost")


async def a_dependencys_error_swallowed(
    held: Annotated[str, Depends(swallows)], broken: Annotated[str, Depends(breaks_open)]
) -> str:
    return held


async def an_error_replaced(outer: Annotated[str, Depends(plain)], held: Annotated[str, Depends(replaces)]) -> str:
    raise KeyError("lost")


async def an_error_in_a_dependency(
    held: Annotated[str, Depends(plain)], broken: Annotated[str, Depends(never_opens)]
) -> str:
    return held


async def an_error_after_the_answer(
    held: Annotated[str, Depends(plain)], late: Annotated[str, Depends(breaks_late)]
) -> str:
    return held


async def an_error_before_the_answer(
    held: Annotated[str, Depends(plain)], late: Annotated[str, Depends(refuses_late, scope="function")]
) -> str:
    return held


def an_error_in_a_thread(held: Annotated[str, Depends(sync_dependency)], outer: Annotated[str, Depends(plain)]) -> str:
    raise KeyError("lost")


async def one_dependency_thrice(
    a: Annotated[str, Depends(plain)],
    b: Annotated[str, Depends(plain)],
    c: Annotated[str, Depends(plain, use_cache=False)],
) -> str:
    return a + b + c


async def a_class(reader: Annotated[Reader, Depends()]) -> str:
    return reader.text


async def an_object(held: Annotated[str, Depends(Opener())]) -> str:
    return held


async def a_dependencys_answer(
    nothing: Annotated[None, Depends(sets_headers)], held: Annotated[str, Depends(plain)]
) -> str:
    return held


async def a_background_task_that_fails(held: Annotated[str, Depends(plain)], background: BackgroundTasks) -> str:
    background.add_task([].pop)
    background.add_task(LOG.append, "never")
    return held


async def a_whole_response(held: Annotated[str, Depends(plain)], background: BackgroundTasks) -> Response:
    background.add_task(LOG.append, "background")
    return Response("whole")


async def a_response_with_a_task_of_its_own(held: Annotated[str, Depends(plain)]) -> Response:
    return Response("whole", background=BackgroundTask(LOG.append, "its own"))


async def a_streaming_response(held: Annotated[str, Depends(plain)]) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        LOG.append("first part")
        yield b"a"
        yield b"b"
        LOG.append("last part")

    return StreamingResponse(parts())


async def errors_of_a_dependency(nothing: Annotated[None, Depends(invalid)]) -> str:
    return "never"


def a_context_variable(nothing: Annotated[None, Depends(sets_variable)]) -> str:
    return variable.get()


async def security_scopes(scopes: Annotated[list[str], Security(scopes_of, scopes=["a", "b"])]) -> list[str]:
    return scopes


async def the_body_of_a_get(text: Annotated[str, Depends(body_of)]) -> str:
    return text


def no_content(response: Response) -> None:
    response.status_code = 204


async def an_error_with_headers() -> None:
    raise HTTPException(429, ["slowly"], {"Retry-After": "7"})


FUNCTIONS = [
    an_error_swallowed,
    a_known_error_swallowed,
    an_error_swallowed_early,
    a_dependencys_error_swallowed,
    an_error_replaced,
    an_error_in_a_dependency,
    an_error_after_the_answer,
    an_error_before_the_answer,
    an_error_in_a_thread,
    one_dependency_thrice,
    a_class,
    an_object,
    a_dependencys_answer,
    a_background_task_that_fails,
    a_whole_response,
    a_response_with_a_task_of_its_own,
    a_streaming_response,
    errors_of_a_dependency,
    a_context_variable,
    security_scopes,
    the_body_of_a_get,
    no_content,
    an_error_with_headers,
]


def outcome(app: Any) -> tuple[list[str], int, str, dict[str, str]]:
    LOG.clear()
    with client(app) as http:
        answer = http.get("/actions/it?q=4", headers={"X-Name": "ada"})
    headers = {name: answer.headers[name] for name in ("x-seen", "set-cookie", "retry-after") if name in answer.headers}
    return list(LOG), answer.status_code, answer.text if answer.is_success else "", headers


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_function_does_as_under_fastapi(function: Callable[..., Any]):
    twin = FastAPI()
    twin.get("/actions/it")(function)
    ours = create_app(actions=[action(name="it", triggers=WEB_GET)(function)], settings=Settings(env="dev"))
    assert outcome(ours) == outcome(twin)


def test_injected_tasks_run_beside_the_task_of_a_response():
    def adds(tasks: BackgroundTasks) -> None:
        tasks.add_task(LOG.append, "injected task")

    async def it(added: Annotated[None, Depends(adds)]) -> Response:
        return Response("whole", background=BackgroundTask(LOG.append, "own task"))

    ours = create_app(actions=[action(triggers=WEB_GET)(it)], settings=Settings(env="dev"))
    assert outcome(ours)[:3] == (["own task", "injected task"], 200, "whole")


@pytest.mark.parametrize("headers", [{}, {"Prefer": "handling=lenient"}], ids=["compiled", "generic"])
def test_a_cancellation_that_is_not_the_requests_is_an_unexpected_error(headers):
    async def it() -> str:
        waiting = asyncio.ensure_future(asyncio.Event().wait())
        waiting.cancel()
        await waiting
        return "never"

    ours = create_app(actions=[action(triggers=WEB_GET)(it)], settings=Settings(env="dev"))
    with TestClient(ours, raise_server_exceptions=False) as http:
        answer = http.get("/actions/it", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


def test_what_a_dependency_swallowed_is_in_the_log(caplog):
    made = action(name="it", triggers=WEB_GET)(an_error_swallowed)
    with client(create_app(actions=[made], settings=Settings(env="dev"))) as http:
        assert http.get("/actions/it").json() == {"detail": "Internal Server Error", "code": "internal"}
    assert "KeyError: 'lost'" in caplog.text
    assert "re-raise the exceptions that it catches" in caplog.text
