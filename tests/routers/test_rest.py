"""What a client of a REST route sees."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Body, Cookie, Header, HTTPException, Query, Request, Response, UploadFile
from pydantic import Field
from starlette.responses import HTMLResponse, RedirectResponse

from servey import (
    WEB_GET,
    WEB_POST,
    ActionError,
    ConfigError,
    Conflict,
    Context,
    Forbidden,
    NotFound,
    Settings,
    WebTrigger,
    WebTriggerMethod,
    action,
    create_app,
)
from servey.testing import client

DEV = Settings(env="dev")


def serve(*actions, settings=DEV, **kwargs):
    return client(create_app(actions=actions, settings=settings, **kwargs))


# ------------------------------------------------------------------------------------------------ methods and paths


@pytest.mark.parametrize("method", list(WebTriggerMethod))
def test_every_method(method):
    @action(triggers=WebTrigger(method))
    async def double(number: int) -> int:
        return 2 * number

    with serve(double) as http:
        sends = {"json": {"number": 4}} if method in ("POST", "PUT", "PATCH") else {"params": {"number": 4}}
        answer = http.request(method, "/actions/double", **sends)
    assert answer.status_code == 200
    assert answer.text == ("" if method == "HEAD" else "8")


def test_head_works_where_get_does():
    @action(triggers=WEB_GET)
    def word() -> str:
        return "word"

    with serve(word) as http:
        got, head = http.get("/actions/word"), http.head("/actions/word")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] == "6"


def test_head_has_no_body_of_its_own():
    import asyncio

    @action(triggers=WEB_GET)
    def word() -> str:
        return "word"

    app, sent = create_app(actions=[word], settings=DEV), []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "HEAD",
        "path": "/actions/word",
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    asyncio.run(app({**scope, "scheme": "http", "server": ("test", 80)}, receive, send))
    # Servers and clients leave a HEAD's body out too; here is neither.
    assert [message.get("body") for message in sent] == [None, b""]
    assert (b"content-length", b"6") in sent[0]["headers"]


def test_a_wrong_method_tells_the_right_ones(tmp_path):
    @action(triggers=(WebTrigger("GET", "/thing"), WebTrigger("DELETE", "/thing")))
    def thing() -> None: ...

    @action(triggers=WebTrigger("PUT", "/thing"))
    def other() -> None: ...

    (tmp_path / "index.html").write_text("site")
    for site in ("no such folder", str(tmp_path)):
        with serve(thing, other, settings=Settings(env="dev", static_site_dir=site)) as http:
            answer = http.post("/thing", json={})
        assert answer.status_code == 405
        assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"
        assert answer.json() == {"detail": "Method Not Allowed", "code": "method_not_allowed"}


def test_path_parameters_are_coerced_and_win():
    @action(triggers=(WebTrigger("GET", "/a/{number}"), WebTrigger("POST", "/a/{number}"), WEB_GET))
    def show(number: int, word: str = "-") -> list[int | str]:
        return [number, word]

    with serve(show) as http:
        assert http.get("/a/7?number=8&word=x").json() == [7, "x"]
        assert http.post("/a/7", json={"number": 8, "word": "y"}).json() == [7, "y"]
        assert http.get("/actions/show?number=8").json() == [8, "-"]
        bad = http.get("/a/seven")
    assert (bad.status_code, bad.json()["detail"][0]["loc"]) == (422, ["path", "number"])


def test_a_path_may_hold_slashes():
    @action(triggers=WebTrigger("GET", "/files/{name:path}"))
    def read(name: str) -> str:
        return name

    with serve(read) as http:
        assert http.get("/files/a/b.txt").json() == "a/b.txt"


def test_several_triggers_have_distinct_operation_ids():
    @action(triggers=(WEB_GET, WEB_POST, WebTrigger("GET", "/second"), WebTrigger("GET", "/third")))
    def many() -> None: ...

    with serve(many) as http:
        paths = http.get("/openapi.json").json()["paths"]
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert ids == ["many", "many_post", "many_get", "many_get_2", "job", "login"]


@dataclass
class Number:
    value: int

    @action(triggers=(WEB_GET, WEB_POST))
    def times(self, by: int) -> int:
        return self.value * by

    @action(name="negate", triggers=WEB_GET)
    async def negative(self) -> int:
        return -self.value


def test_a_method_takes_its_object_as_self():
    with serve(Number.times, Number.negative) as http:
        assert http.get("/actions/number/times?self.value=6&by=7").json() == 42
        assert http.post("/actions/number/times", json={"self": {"value": 6}, "by": 8}).json() == 48
        assert http.get("/actions/negate?self.value=5").json() == -5
        missing = http.get("/actions/number/times?by=7")
    assert missing.json()["detail"][0]["loc"] == ["query", "self"]


def test_generated_actions():
    def generate(name):
        @action(name=name, triggers=WEB_GET)
        def generated() -> str:
            return f"action_name was {name}"

        return generated

    with serve(*map(generate, ("generated_1", "generated_2"))) as http:
        assert http.get("/actions/generated-2").json() == "action_name was generated_2"


@pytest.mark.parametrize(
    ("trigger", "problem"),
    [
        (WebTrigger("GET", "no-slash"), "begin it with '/'"),
        (WebTrigger("GET", "/a/{nobody}"), "'nobody', which is no parameter"),
    ],
)
def test_a_path_that_can_not_be(trigger, problem):
    def fine(number: int) -> int:
        return number

    with pytest.raises(ConfigError, match=problem):
        create_app(actions=[action(triggers=trigger)(fine)], settings=DEV)


def test_two_routes_of_one_path_and_method_are_refused_with_both_places():
    @action(triggers=WebTrigger("GET", "/same/{a}"))
    def first(a: int) -> None: ...

    @action(triggers=WebTrigger("GET", "/same/{b}"))
    def second(b: int) -> None: ...

    with pytest.raises(
        ConfigError, match=r"'first' \(.*test_rest.py:\d+\) and of action 'second' \(.*test_rest.py:\d+\)"
    ):
        create_app(actions=[first, second], settings=DEV)


# ------------------------------------------------------------------------------------------------ the query dialect


class Color(StrEnum):
    red = "red"
    green = "green"


@dataclass
class Spot:
    x: int
    label: str = "here"
    inner: "Spot | None" = None


@action(triggers=(WEB_GET, WEB_POST))
async def look(
    p: Spot | None = None,
    tags: list[str] | None = None,
    colors: frozenset[Color] = frozenset(),
    name: str = "",
    n: int = 0,
) -> dict:
    return {"p": p, "tags": tags, "colors": sorted(colors), "name": name, "n": n}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=true", {"name": "true"}),
        ("name=1", {"name": "1"}),
        ("name=null", {"name": "null"}),
        ("name=", {"name": ""}),
        ("name", {"name": ""}),
        ("name=a%20b+c%26", {"name": "a b c&"}),
        ("name=%E2%98%83", {"name": "☃"}),
        ("name=first&name=last", {"name": "last"}),
        ("n=1&n=2", {"n": 2}),
        ("tags=one", {"tags": ["one"]}),
        ("tags=one&tags=two", {"tags": ["one", "two"]}),
        ("tags=", {"tags": [""]}),
        ("colors=red&colors=green&colors=red", {"colors": ["green", "red"]}),
        ("p.x=1", {"p": {"x": 1, "label": "here", "inner": None}}),
        ("p.x=1&p.label=hey", {"p": {"x": 1, "label": "hey", "inner": None}}),
        (
            "p.x=1&p.inner.x=2&p.inner.inner.x=3&p.inner.inner.label=z",
            {
                "p": {
                    "x": 1,
                    "label": "here",
                    "inner": {"x": 2, "label": "here", "inner": {"x": 3, "label": "z", "inner": None}},
                }
            },
        ),
        ("unknown=1&p.x=1&p.unknown=2&&=&", {"p": {"x": 1, "label": "here", "inner": None}}),
    ],
)
def test_queries(query, expected):
    with serve(look) as http:
        answer = http.get(f"/actions/look?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"p": None, "tags": None, "colors": [], "name": "", "n": 0, **expected}


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ("n=x", ["query", "n"]),
        ("p.x=x", ["query", "p", "x"]),
        ("p.label=only", ["query", "p", "x"]),
        ("p.x=1&p.inner.x=y", ["query", "p", "inner", "x"]),
        ("p=flat", ["query", "p"]),
        ("colors=blue", ["query", "colors", 0]),
    ],
)
def test_errors_say_where(query, loc):
    with serve(look) as http:
        answer = http.get(f"/actions/look?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == loc


def test_strictness_refuses_what_nobody_asked_for():
    with serve(look, settings=Settings(env="dev", strict_schema=True)) as http:
        for url, loc in (("?unknown=1", ["query", "unknown"]), ("?p.x=1&p.y=2", ["query", "p", "y"])):
            answer = http.get(f"/actions/look{url}")
            assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, loc)
        answer = http.post("/actions/look", json={"n": 1, "unknown": 2})
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "unknown"])
        assert http.post("/actions/look", json={"n": 1}).status_code == 200


@pytest.mark.parametrize("annotation", [list[Spot], dict[str, int], list[dict[str, int]], dict, tuple[Spot, int]])
def test_what_a_query_can_not_hold(annotation):
    def ask(value):
        return 1

    ask.__annotations__ = {"value": annotation, "return": int}
    with pytest.raises(ConfigError, match=r"action 'ask' \(.*\): parameter 'value' is a (list of objects|dict)"):
        create_app(actions=[action(triggers=WEB_GET)(ask)], settings=DEV)
    create_app(actions=[action(triggers=WEB_POST)(ask)], settings=DEV)


def test_an_explicit_query_parameter_stays_one_beside_a_body():
    @action(triggers=WEB_POST)
    def mix(
        text: Annotated[str, Body()], page: Annotated[int, Query(ge=1)] = 1, size: int = Query(10, alias="page-size")
    ):
        return [text, page, size]

    with serve(mix) as http:
        assert http.post("/actions/mix?page=3&page-size=5", json={"text": "t", "page": 9}).json() == ["t", 3, 5]
        bad = http.post("/actions/mix?page=0", json={"text": "t"})
    assert bad.json()["detail"][0]["loc"] == ["query", "page"]


# ------------------------------------------------------------------------------------------------------- the input


@pytest.mark.parametrize(
    "name",
    ["json", "schema", "copy", "model_config", "self_", "event", "name", "request", "id", "cls", "kwargs", "validate"],
)
def test_parameters_may_be_called_anything(name):
    namespace = {}
    exec(f"def take({name}: int) -> int:\n    return {name}", namespace)
    with serve(action(triggers=(WEB_GET, WEB_POST))(namespace["take"])) as http:
        assert http.get("/actions/take", params={name: 3}).json() == 3
        assert http.post("/actions/take", json={name: 4}).json() == 4


def test_a_body_may_be_absent_where_nothing_is_required():
    with serve(look) as http:
        assert http.post("/actions/look").status_code == 200
        assert http.post("/actions/look", json={}).status_code == 200


def test_defaults_are_never_shared():
    @action(triggers=WEB_POST)
    def collect(item: int, into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(item)
        return into

    with serve(collect) as http:
        assert http.post("/actions/collect", json={"item": 1}).json() == [1]
        assert http.post("/actions/collect", json={"item": 2}).json() == [2]


def test_a_json_media_type_of_ones_own():
    with serve(look) as http:
        sent = {"content": b'{"n": 5}', "headers": {"Content-Type": "application/vnd.shop+json; charset=utf-8"}}
        assert http.post("/actions/look", **sent).json()["n"] == 5


def test_what_fastapi_injects():
    @action(triggers=WEB_POST)
    async def everything(
        n: int,
        request: Request,
        response: Response,
        background: BackgroundTasks,
        user_agent: Annotated[str, Header()],
        color: Annotated[str, Cookie()] = "none",
    ) -> list:
        response.headers["X-Seen"] = "yes"
        response.set_cookie("seen", "1")
        response.status_code = 201
        background.add_task(after.append, n)
        return [n, request.url.path, user_agent, color, await request.json()]

    after = []
    with serve(everything) as http:
        http.cookies.set("color", "blue")
        answer = http.post("/actions/everything", json={"n": 1}, headers={"User-Agent": "test"})
        assert http.post("/actions/everything", json={"n": "x"}).status_code == 422
    assert answer.json() == [1, "/actions/everything", "test", "blue", {"n": 1}]
    assert (answer.status_code, answer.headers["x-seen"], answer.cookies["seen"]) == (201, "yes", "1")
    assert after == [1]


def test_an_upload_with_fields_beside_it():
    @action(triggers=WEB_POST)
    async def upload(file: UploadFile, name: str, counts: list[int] | None = None, spot: Spot | None = None) -> list:
        return [file.filename, (await file.read()).decode(), name, counts, spot]

    with serve(upload) as http:
        files = {"file": ("a.txt", b"text")}
        answer = http.post(
            "/actions/upload", files=files, data={"name": "n", "counts": ["1", "2"], "spot.x": "5", "zz": "-"}
        )
        assert answer.json() == ["a.txt", "text", "n", [1, 2], {"x": 5, "label": "here", "inner": None}]
        missing = http.post("/actions/upload", data={"name": "n"})
        assert (missing.status_code, missing.json()["detail"][0]["loc"]) == (422, ["body", "file"])
        wrong = http.post("/actions/upload", json={"name": "n"})
        assert (wrong.status_code, wrong.json()["code"]) == (415, "unsupported_media_type")
        broken = http.post(
            "/actions/upload", content=b"--x\r\nnonsense", headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert broken.status_code == 422
        shown = http.get("/openapi.json").json()["paths"]["/actions/upload"]["post"]["requestBody"]["content"]
    assert list(shown) == ["multipart/form-data"]


# ------------------------------------------------------------------------------------------------------ the answer


def test_a_response_is_passed_through():
    @action(triggers=WEB_GET)
    def page() -> HTMLResponse:
        return HTMLResponse("<p>hi</p>", 203, {"X-Own": "1"})

    @action(triggers=WEB_GET)
    def go() -> Response:
        return RedirectResponse("/elsewhere", 303)

    @action(triggers=WEB_GET)
    def either(html: bool) -> HTMLResponse | dict[str, int]:
        return HTMLResponse("yes") if html else {"no": 1}

    with serve(page, go, either) as http:
        answer = http.get("/actions/page")
        assert (answer.text, answer.status_code, answer.headers["x-own"]) == ("<p>hi</p>", 203, "1")
        moved = http.get("/actions/go", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (303, "/elsewhere")
        assert http.get("/actions/either?html=1").text == "yes"
        assert http.get("/actions/either?html=0").json() == {"no": 1}


def test_none_is_null():
    @action(triggers=WEB_POST)
    async def nothing() -> None: ...

    with serve(nothing) as http:
        assert http.post("/actions/nothing").text == "null"


def test_a_result_is_what_its_annotation_says(caplog):
    @action(triggers=WEB_GET)
    def lies() -> int:
        return "secret-text"

    with serve(lies) as http:
        answer = http.get("/actions/lies")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error", "code": "internal"})
    assert "gave back what its annotation does not allow" in caplog.text


# ------------------------------------------------------------------------------------------------------ the errors


class Odd(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (NotFound("no such"), 404, {"detail": "no such", "code": "not_found"}),
        (Conflict("twice"), 409, {"detail": "twice", "code": "conflict"}),
        (Forbidden("not you"), 403, {"detail": "not you", "code": "forbidden"}),
        (ActionError(418, "teapot", {"short": True}), 418, {"detail": {"short": True}, "code": "teapot"}),
        (HTTPException(402, "pay"), 402, {"detail": "pay", "code": "http_402"}),
        (HTTPException(404), 404, {"detail": "Not Found", "code": "http_404"}),
        (Odd("db://user:pw@host"), 500, {"detail": "Internal Server Error", "code": "internal"}),
        (TimeoutError("its own"), 500, {"detail": "Internal Server Error", "code": "internal"}),
    ],
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


# ------------------------------------------------------------------------------------------------------ the limits


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
