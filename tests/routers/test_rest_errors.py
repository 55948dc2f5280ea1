"""REST: errors, request ids, CORS, the limit on calls in flight."""

import logging

import pytest
from fastapi import HTTPException

from servey import (
    WEB_GET,
    ActionError,
    Conflict,
    Context,
    Forbidden,
    NotFound,
    Settings,
    action,
    create_app,
)
from tests.routers.rest_app import look, serve


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (NotFound("no such"), 404, {"detail": "no such", "code": "not_found"}),
        (Conflict("twice"), 409, {"detail": "twice", "code": "conflict"}),
        (NotFound("no \udcff.txt"), 404, {"detail": "no \udcff.txt", "code": "not_found"}),
        (Forbidden("not you"), 403, {"detail": "not you", "code": "forbidden"}),
        (ActionError(418, "teapot", {"short": True}), 418, {"detail": {"short": True}, "code": "teapot"}),
        (HTTPException(402, "pay"), 402, {"detail": "pay", "code": "http_402"}),
        (HTTPException(404), 404, {"detail": "Not Found", "code": "http_404"}),
        (Odd("db://user:pw@host"), 500, {"detail": "Internal Server Error", "code": "internal"}),
        (TimeoutError("its own"), 500, {"detail": "Internal Server Error", "code": "internal"}),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("kind", ["async", "def"])
def test_errors(error, status, body, kind, caplog):
    async def fail_async() -> None:
        raise error

    def fail_def() -> None:
        raise error

    fail = action(name="fail", triggers=WEB_GET)(fail_async if kind == "async" else fail_def)
    with serve(fail) as http:
        answer = http.get("/actions/fail", headers={"X-Request-ID": "abc-1"})
    assert (answer.status_code, answer.json()) == (status, body)
    assert answer.headers["x-request-id"] == "abc-1"
    logged = [record for record in caplog.records if record.name == "servey" and record.levelno == logging.ERROR]
    assert len(logged) == (1 if status == 500 else 0)
    assert all("abc-1" in record.getMessage() for record in logged)


def test_error_headers_reach_the_client():
    @action(triggers=WEB_GET)
    async def wait() -> None:
        raise HTTPException(429, "slowly", {"Retry-After": "7"})

    with serve(wait) as http:
        assert http.get("/actions/wait").headers["retry-after"] == "7"


def test_unknown_paths():
    with serve(look) as http:
        answer = http.get("/nowhere")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found", "code": "not_found"})


def test_request_ids_are_taken_or_made():
    @action(triggers=WEB_GET)
    async def which(context: Context) -> str:
        return context.request_id

    with serve(which) as http:
        answer = http.get("/actions/which", headers={"X-Request-ID": "mine.1"})
        assert answer.json() == answer.headers["x-request-id"] == "mine.1"
        for bad in ("has space", "x" * 129, 'quo"te', ""):
            answer = http.get("/actions/which", headers={"X-Request-ID": bad})
            assert answer.json() == answer.headers["x-request-id"] != bad
        ids = {
            http.get(path).headers["x-request-id"] for path in ("/actions/which", "/nowhere", "/docs", "/health/live")
        }
    assert len(ids) == 4


def test_cors_headers_stand_on_errors_too():
    @action(triggers=WEB_GET)
    def fails() -> None:
        raise Odd

    settings = Settings(env="dev", cors_allowed_origins=("https://good.example",))
    with serve(fails, look, settings=settings) as http:
        origin = {"Origin": "https://good.example"}
        answers = [http.get(path, headers=origin) for path in ("/actions/fails", "/nowhere", "/actions/look?n=x")]
        assert [answer.status_code for answer in answers] == [500, 404, 422]
        assert {answer.headers.get("access-control-allow-origin") for answer in answers} == {"https://good.example"}
        other = http.get("/actions/look", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        asked = http.options("/actions/look", headers={**origin, "Access-Control-Request-Method": "POST"})
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "https://good.example")


def test_over_the_number_in_flight(anyio_backend):
    import anyio
    import httpx

    release = anyio.Event()

    @action(triggers=WEB_GET)
    async def hold() -> None:
        await release.wait()

    app = create_app(actions=[hold, look], settings=Settings(env="dev", max_in_flight=1))

    async def main() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            answers = []
            async with anyio.create_task_group() as group:

                async def first() -> None:
                    answers.append(await http.get("/actions/hold"))

                group.start_soon(first)
                while app.runtime.in_flight.count == 0:
                    await anyio.lowlevel.checkpoint()
                answers.append(await http.get("/actions/look"))
                release.set()
            return answers

    refused, held = anyio.run(main)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert held.status_code == 200
