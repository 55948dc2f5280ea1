"""Forms: the compiled form reads them as the generic form does, and leaves to it what only that can read."""

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from random import Random
from typing import Annotated, Any
from urllib.parse import quote, quote_plus

import pytest
from fastapi import Depends, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.background import BackgroundTasks
from starlette.responses import JSONResponse

from servey import WEB_POST, NotFound, Servey, Settings, action
from servey.routers.rest.action_route import ActionRoute
from tests.differential.requests import Sent
from tests.differential.shop_types import saw
from tests.differential.test_differential import answer, counted

URLENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=limit"


class Person(BaseModel):
    name: str
    age: int = 7


@action(triggers=WEB_POST)
async def fields(name: Annotated[str, Form()], age: Annotated[int, Form()] = 3) -> str:
    saw("fields", name, age)
    if name == "nobody":
        raise NotFound("nobody")
    return f"{name} {age}"


@action(triggers=WEB_POST)
async def model(name: Annotated[Person, Form()]) -> Person:
    return name


@action(triggers=WEB_POST)
async def words(name: Annotated[list[str], Form()], age: int, more: list[str] | None = None) -> str:
    return f"{name} {age} {more}"


@action(triggers=WEB_POST)
def in_thread(name: Annotated[str, Form()], person: Person | None = None) -> str:
    return f"{name} {person}"


async def whole(request: Request) -> str:
    form = await request.form()
    try:
        body: Any = await request.body()
    except RuntimeError as error:
        body = str(error)
    return f"{form.multi_items()} {body} {request.headers['content-type']}"


@action(triggers=WEB_POST)
async def with_request(name: Annotated[str, Form()], seen: Annotated[str, Depends(whole)]) -> str:
    return f"{name} {seen}"


@action(triggers=WEB_POST)
async def uploaded(
    tasks: BackgroundTasks, file: Annotated[UploadFile, File()], name: Annotated[str, Form()] = "none"
) -> str:
    def later() -> None:
        saw("later", file.file.closed)

    tasks.add_task(later)
    return f"{name} {file.filename} {await file.read()!r}"


ACTIONS = (fields, model, words, in_thread, with_request, uploaded)


async def shown(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"body": repr(error.body), "read": repr(await request.body())}, 422)


def build(*, generic: bool, strict: bool, handled: bool) -> tuple[Servey, Counter[str]]:
    counts: Counter[str] = Counter()
    handlers: Any = {RequestValidationError: shown} if handled else None
    app = Servey(actions=ACTIONS, settings=Settings(env="dev", strict_schema=strict), exception_handlers=handlers)
    for route in app.router.routes:
        if isinstance(route, ActionRoute):
            route.__dict__["serve"] = None if generic else counted(route.serve, counts)
    return app, counts


NAMES = ("name", "name", "name", "age", "age", "more", "person.name", "person.age", "unknown", "", "a.b", "n=m", "ä")
VALUES = ("Ada", "nobody", "36", "a b", "ä+%&=#;", "", "x", "\u2028", "\0", "a" * 3000)
ODD = (
    b"",
    b"&",
    b"=",
    b"name",
    b"name=a&",
    b"name=a;age=3",
    b"name=%ff",
    b"name=%zz&age=1",
    b"name=\xc3\xa4",
    b"name==a",
)
ODD_TYPES = (None, b"application/json", b"text/plain", URLENCODED + b"; charset=utf-8", URLENCODED + b"; charset=utf-7")


def generated(seed: int, count: int) -> list[Sent]:
    random = Random(seed)
    found = []
    for number in range(count):
        names = random.choice((("name",), ("name", "age"), NAMES))
        pairs = [(random.choice(names), random.choice(VALUES)) for _ in range(random.choice((1, 2, 2, 5)))]
        if random.random() < 0.01:
            pairs *= 600
        quoting = random.choice((quote, quote_plus))
        content_type: bytes | None = URLENCODED
        body = "&".join(f"{quoting(name)}={quoting(value)}" for name, value in pairs).encode()
        if random.random() < 0.3:
            content_type, body = MULTIPART, multipart(random, pairs)
        if random.random() < 0.15:
            body = random.choice(ODD)
        if random.random() < 0.1:
            content_type = random.choice(ODD_TYPES)
        headers = [(b"host", b"test"), *([(b"content-type", content_type)] if content_type else [])]
        path = f"/actions/{ACTIONS[number % len(ACTIONS)].servey_action.name.replace('_', '-')}"
        found.append(Sent("POST", path, b"", tuple(headers), body, comparable=False))
    return found


def multipart(random: Random, pairs: list[tuple[str, str]]) -> bytes:
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in pairs]
    if random.random() < 0.5:
        parts.append('Content-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\ncontent')
    return b"".join(b"--limit\r\n" + part.encode() + b"\r\n" for part in parts) + b"--limit--\r\n"


@pytest.mark.parametrize("strict", [False, True], ids=["loose", "strict"])
@pytest.mark.parametrize("handled", [False, True], ids=["own errors", "handler"])
def test_both_forms_read_a_form_alike(strict, handled, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    requests = generated(3, 600)

    async def run() -> tuple[list[str], Counter[str], Counter[Any]]:
        async with AsyncExitStack() as stack:
            (one, counts), (other, _) = (build(generic=each, strict=strict, handled=handled) for each in (False, True))
            for app in (one, other):
                await stack.enter_async_context(app.router.lifespan_context(app))
            found, statuses = [], Counter[Any]()
            for sent in requests:
                compiled, generic = await answer(one, sent), await answer(other, sent)
                statuses[generic[0]] += 1
                if compiled != generic:
                    found.append(f"{sent}\n  compiled: {compiled}\n  generic:  {generic}")
            return found, counts, statuses

    found, counts, statuses = asyncio.run(run())
    assert not found, f"{len(found)} differences, the first of them:\n" + "\n".join(found[:3])
    assert counts["reached"] == len(requests)
    assert counts["replayed"] < len(requests) * 0.9, counts
    assert min(statuses[200], statuses[422]) > 40, statuses
