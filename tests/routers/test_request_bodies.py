"""REST: bodies, forms and uploads."""

from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Cookie, Header, Request, Response, UploadFile

from servey import (
    WEB_GET,
    WEB_POST,
    action,
)
from tests.routers.rest_app import Spot, look, serve


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
