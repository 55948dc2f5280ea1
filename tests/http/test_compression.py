"""Large answers are gzipped for those who take that; nothing else is touched."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
from starlette.responses import FileResponse, PlainTextResponse

from servey import WEB_GET, SecureHashCacheControl, Settings, action, create_app
from servey.http.compression import takes, with_gzip
from servey.testing import client

LARGE = "large " * 1000


@action(triggers=WEB_GET)
async def large() -> str:
    return LARGE


@action(triggers=WEB_GET)
async def huge() -> str:
    return LARGE * 50


@action(triggers=WEB_GET)
async def small() -> str:
    return "small"


@action(triggers=WEB_GET, cache_control=SecureHashCacheControl(private=False))
async def hashed() -> str:
    return LARGE


@action(triggers=WEB_GET)
async def stream() -> AsyncIterator[str]:
    yield LARGE
    yield LARGE


@action(triggers=WEB_GET)
async def fixed() -> PlainTextResponse:
    return PlainTextResponse(LARGE, headers={"Cache-Control": "no-transform"})


@action(triggers=WEB_GET)
async def encoded() -> PlainTextResponse:
    return PlainTextResponse(gzip.compress(LARGE.encode() * 300), headers={"Content-Encoding": "gzip"})


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    (site / "large.css").write_text(LARGE, encoding="utf-8")
    (site / "large.png").write_text(LARGE, encoding="utf-8")
    actions = [large, huge, small, hashed, stream, fixed, encoded]
    with client(create_app(actions=actions, settings=Settings(static_site_dir=str(site)))) as http:
        http.headers["Accept-Encoding"] = "gzip"
        yield http


@pytest.mark.parametrize("name", ["large", "huge"])
def test_a_large_answer(http, name):
    answer = http.get(f"/actions/{name}")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert int(answer.headers["content-length"]) < 5000
    assert answer.json().startswith(LARGE)


@pytest.mark.parametrize("field", ["identity", "gzip;q=0", "br", "*;q=0", "gzip;q=x"])
def test_a_client_that_does_not_take_it(http, field):
    answer = http.get("/actions/large", headers={"Accept-Encoding": field})
    assert "content-encoding" not in answer.headers
    assert answer.json() == LARGE


@pytest.mark.parametrize(
    "path", ["/actions/small", "/actions/stream", "/actions/fixed", "/large.png", "/actions/missing"]
)
def test_what_is_left_as_it_is(http, path):
    assert "content-encoding" not in http.get(path).headers


def test_what_is_compressed_already(http):
    assert http.get("/actions/encoded").text == LARGE * 300


def test_a_part_of_a_file_is_a_part_of_the_file(http):
    part = http.get("/large.css", headers={"Range": "bytes=0-4999"})
    assert (part.status_code, len(part.content), "content-encoding" in part.headers) == (206, 5000, False)


def test_a_file(http):
    answer = http.get("/large.css")
    assert (answer.text, answer.headers["content-encoding"]) == (LARGE, "gzip")
    assert "accept-ranges" not in answer.headers


def test_a_file_that_the_server_reads_itself(tmp_path):
    (tmp_path / "large.css").write_text(LARGE, encoding="utf-8")
    scope = {
        "type": "http",
        "method": "GET",
        "headers": [(b"accept-encoding", b"gzip")],
        "extensions": {"http.response.pathsend": {}},
    }
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(FileResponse(tmp_path / "large.css")(scope, None, with_gzip(scope, send)))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.pathsend"]
    assert (b"content-length", str(len(LARGE)).encode()) in sent[0]["headers"]


def test_its_etag_is_a_weak_one_and_still_does_its_work(http):
    answer = http.get("/actions/hashed")
    assert answer.headers["etag"].startswith('W/"')
    assert http.get("/actions/hashed", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    plain = http.get("/actions/hashed", headers={"Accept-Encoding": "identity"})
    assert plain.headers["etag"].startswith('"')


def test_head_has_no_body(http):
    answer = http.head("/actions/large")
    assert (answer.content, "content-encoding" in answer.headers) == (b"", False)


def test_how_a_client_says_what_it_takes():
    def scope(field: str):
        return {"headers": [(b"accept-encoding", field.encode())]}

    assert takes(scope("br, GZIP;q=0.5"), "gzip")
    assert takes(scope("*"), "gzip")
    assert not takes(scope("*, gzip;q=0"), "gzip")
    assert not takes({"headers": []}, "gzip")
