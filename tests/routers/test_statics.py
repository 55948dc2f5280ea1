"""A static site beside the routes."""

import asyncio
import os
from urllib.parse import unquote

import pytest

from servey import WEB_GET, Settings, WebTrigger, action, create_app
from servey.testing import client


@action(triggers=(WEB_GET, WebTrigger("GET", "/index.html")))
async def hello() -> str:
    return "from the action"


@pytest.fixture
def http(tmp_path):
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / "index.html").write_text("<p>home", encoding="utf-8")
    (site / "sub" / "index.html").write_text("<p>sub", encoding="utf-8")
    (site / "app.js").write_text("1", encoding="utf-8")
    (site / "404.html").write_text("<p>lost", encoding="utf-8")
    (site / ".env").write_text("SECRET=1", encoding="utf-8")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("secret", encoding="utf-8")
    (tmp_path / "outside.txt").write_text("secret", encoding="utf-8")
    os.symlink(tmp_path / "outside.txt", site / "link.txt")
    with client(create_app(actions=[hello], settings=Settings(env="dev", static_site_dir=str(site)))) as http:
        yield http


def test_files_and_folders(http):
    assert http.get("/").text == "<p>home"
    assert http.get("/app.js").headers["content-type"].startswith("text/javascript")
    moved = http.get("/sub", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"].endswith("/sub/")) == (307, True)
    assert http.get("/sub/").text == "<p>sub"
    assert http.head("/").status_code == 200


def test_a_route_is_never_shadowed(http):
    assert http.get("/index.html").json() == "from the action"
    assert http.get("/actions/hello").json() == "from the action"
    assert http.post("/actions/hello").status_code == 405
    assert http.get("/docs").status_code == 200


def test_what_is_not_there(http):
    missing = http.get("/nowhere")
    assert (missing.status_code, missing.text) == (404, "<p>lost")
    assert http.post("/app.js").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/../outside.txt", "/..%2foutside.txt", "/%2e%2e/outside.txt", "/sub/../../outside.txt", "/link.txt", "/.env", "/.git/config",
     "/sub%00", "/" + "a" * 5000, "//etc/passwd", "/%5c..%5coutside.txt"],
)  # fmt: skip
def test_nothing_else_is_given_away(http, path):
    answer = http.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text.lower()


def test_a_part_of_a_file(http):
    answer = http.get("/index.htm", headers={"Range": "bytes=1-3"})
    assert answer.status_code == 404
    part = http.get("/", headers={"Range": "bytes=3-"})
    assert (part.status_code, part.text, part.headers["content-range"]) == (206, "home", "bytes 3-6/7")
    assert http.get("/", headers={"Range": "bytes=9-"}).status_code == 416


def test_a_file_compressed_beforehand(tmp_path):
    import gzip

    (tmp_path / "app.js").write_text("plain", encoding="utf-8")
    (tmp_path / "app.js.gz").write_bytes(gzip.compress(b"from gz"))
    (tmp_path / "index.html").write_text("plain", encoding="utf-8")
    (tmp_path / "index.html.gz").write_bytes(gzip.compress(b"home from gz"))
    (tmp_path / "alone.js.gz").write_bytes(b"x")
    with client(create_app(actions=[hello], settings=Settings(static_site_dir=str(tmp_path)))) as http:
        answer = http.get("/app.js", headers={"Accept-Encoding": "gzip"})
        assert (answer.text, answer.headers["content-encoding"], answer.headers["vary"]) == (
            "from gz",
            "gzip",
            "Accept-Encoding",
        )
        assert answer.headers["content-type"].startswith("text/javascript")
        assert http.get("/", headers={"Accept-Encoding": "gzip"}).text == "home from gz"
        assert http.get("/app.js", headers={"Accept-Encoding": "identity"}).text == "plain"
        tag = {"Accept-Encoding": "gzip", "If-None-Match": answer.headers["etag"]}
        assert http.get("/app.js", headers=tag).status_code == 304
        assert http.get("/alone.js", headers={"Accept-Encoding": "gzip"}).status_code == 404


def test_an_app_of_a_single_page(tmp_path):
    (tmp_path / "index.html").write_text("<p>app", encoding="utf-8")
    (tmp_path / "404.html").write_text("<p>lost", encoding="utf-8")
    (tmp_path / "app.js").write_text("1", encoding="utf-8")
    settings = Settings(static_site_dir=str(tmp_path), static_site_fallback="index.html")
    browser = {"Accept": "text/html,*/*"}
    with client(create_app(actions=[hello], settings=settings)) as http:
        page = http.get("/orders/7", headers=browser)
        assert (page.status_code, page.text) == (200, "<p>app")
        assert http.get("/app.js", headers=browser).text == "1"
        assert http.get("/missing.js", headers=browser).status_code == 404
        assert http.get("/orders/7").status_code == 404
        assert http.post("/orders/7", headers=browser).status_code == 404
        assert http.get("/actions/hello", headers=browser).json() == "from the action"
        assert http.post("/actions/hello", headers=browser).status_code == 405


def test_files_are_only_what_they_are_called(http):
    assert http.get("/app.js").headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in http.get("/").headers["content-security-policy"]


def test_the_well_known_folder_is_served(tmp_path):
    (tmp_path / ".well-known").mkdir()
    (tmp_path / ".well-known" / "security.txt").write_text("Contact", encoding="utf-8")
    with client(create_app(actions=[hello], settings=Settings(static_site_dir=str(tmp_path)))) as http:
        assert http.get("/.well-known/security.txt").text == "Contact"


def test_where_nothing_is_a_browser_gets_a_page(tmp_path):
    with client(create_app(actions=[hello], settings=Settings(static_site_dir=str(tmp_path / "none")))) as http:
        page = http.get("/nowhere", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert http.get("/nowhere").json() == {"detail": "Not Found", "code": "not_found"}


def test_a_file_that_did_not_change_is_not_sent_again(http):
    first = http.get("/app.js")
    assert http.get("/app.js", headers={"If-None-Match": first.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example/sub",
        "//evil.example/..",
        "//sub",
        "/sub//",
        "/%2fsub",
        "/%5csub",
        "/\\evil.example",
        "/sub%2f..",
        "//",
    ],
)
def test_no_path_leads_to_another_host(http, path, tmp_path):
    (tmp_path / "site" / "evil.example" / "sub").mkdir(parents=True)
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    asyncio.run(http.app(scope, receive, send))
    assert sent[0]["status"] == 404


def test_a_redirect_stays_on_the_host_and_keeps_the_query(http):
    moved = http.get("/sub?a=1&b=%2F", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (307, "/sub/?a=1&b=%2F")
