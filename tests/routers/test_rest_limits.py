"""REST: limits on bodies, and functions that are decorated or cancelled."""

from collections.abc import Iterator
from typing import Annotated

import pytest
from fastapi import UploadFile
from pydantic import Field

from servey import (
    WEB_GET,
    WEB_POST,
    action,
    create_app,
)
from servey.testing import client
from tests.routers.rest_app import DEV, serve


def test_a_body_over_its_limit():
    @action(triggers=WEB_POST, max_body_bytes=100)
    def small(text: str) -> int:
        return len(text)

    @action(triggers=WEB_POST)
    def usual(text: str) -> int:
        return len(text)

    def chunks() -> Iterator[bytes]:
        yield b'{"text": "'
        yield b"x" * 200
        yield b'"}'

    with serve(small, usual) as http:
        for sent in (
            {"json": {"text": "x" * 100}},
            {"content": chunks(), "headers": {"Content-Type": "application/json"}},
        ):
            answer = http.post("/actions/small", **sent)
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert http.post("/actions/small", json={"text": "x"}).json() == 1
        assert http.post("/actions/usual", json={"text": "x" * (1 << 20)}).status_code == 413
        assert http.post("/actions/usual", json={"text": "x" * (1 << 19)}).json() == 1 << 19


def test_constraints_hold():
    @action(triggers=(WEB_GET, WEB_POST))
    def bounded(n: Annotated[int, Field(ge=1, le=3)], word: str = Field("ab", min_length=2)) -> int:
        return n

    with serve(bounded) as http:
        assert http.get("/actions/bounded?n=4").json()["detail"][0]["type"] == "less_than_equal"
        assert http.post("/actions/bounded", json={"n": 1, "word": "x"}).json()["detail"][0]["loc"] == ["body", "word"]
        schema = http.get("/openapi.json").json()["paths"]["/actions/bounded"]["get"]["parameters"][0]["schema"]
    assert (schema["minimum"], schema["maximum"]) == (1, 3)


def test_a_dependency_needs_no_annotation():
    from fastapi import Depends

    @action(triggers=WEB_GET)
    async def held(number=Depends(lambda: 5)) -> int:  # noqa: B008 - as people write it
        return number

    with serve(held) as http:
        assert http.get("/actions/held").json() == 5


@pytest.mark.parametrize("blocking", [True, False])
def test_a_plain_decorator_around_an_async_function(blocking):
    import functools

    def decorated(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return fn(*args, **kwargs)

        return wrapper

    @action(triggers=WEB_GET, blocking=blocking)
    @decorated
    async def double(number: int) -> int:
        return 2 * number

    with serve(double) as http:
        assert http.get("/actions/double?number=4").json() == 8


def test_a_cancelled_error_of_its_own_is_an_ordinary_failure():
    import asyncio

    @action(triggers=WEB_GET)
    async def waits_for_another() -> None:
        another = asyncio.create_task(asyncio.sleep(30))
        another.cancel()
        await another

    with serve(waits_for_another) as http:
        answer = http.get("/actions/waits-for-another")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


def test_several_uploads_and_one_that_is_not_there():
    @action(triggers=WEB_POST)
    async def upload(files: list[UploadFile], cover: UploadFile | None = None) -> list[str | None]:
        return [*(file.filename for file in files), cover.filename if cover else None]

    with serve(upload) as http:
        files = [("files", ("a", b"1")), ("files", ("b", b"2"))]
        assert http.post("/actions/upload", files=files).json() == ["a", "b", None]
        assert http.post("/actions/upload", files=[*files, ("cover", ("c", b"3"))]).json() == ["a", "b", "c"]


def test_open_streams_do_not_count_as_calls_in_flight():
    from collections.abc import AsyncIterator

    seen = []

    @action(triggers=WEB_GET)
    async def stream() -> AsyncIterator[int]:
        yield 1
        seen.append(app.runtime.in_flight.count)
        yield 2

    app = create_app(actions=[stream], settings=DEV)
    with client(app) as http:
        assert http.get("/actions/stream").text == "1\n2\n"
    assert (seen, app.runtime.in_flight.count) == ([0], 0)
