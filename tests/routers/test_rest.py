"""REST: methods, paths and responses."""

from dataclasses import dataclass

import pytest
from fastapi import Response
from starlette.responses import HTMLResponse, RedirectResponse

from servey import (
    WEB_GET,
    WEB_POST,
    ConfigError,
    Settings,
    WebTrigger,
    WebTriggerMethod,
    action,
    create_app,
)
from tests.routers.rest_app import DEV, serve


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

    (tmp_path / "index.html").write_text("site", encoding="utf-8")
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
    assert ids == ["many", "many_post", "many_get", "many_get_2", "job", "cancel_job", "login"]


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
        (WebTrigger("GET", "/a/{nobody}"), "'nobody', which is not a parameter"),
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
    assert "returned a value that does not match its annotation" in caplog.text
