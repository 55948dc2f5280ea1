"""A static site beside the routes."""

import os

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
    (site / "index.html").write_text("<p>home")
    (site / "sub" / "index.html").write_text("<p>sub")
    (site / "app.js").write_text("1")
    (site / "404.html").write_text("<p>lost")
    (site / ".env").write_text("SECRET=1")
    (site / ".git").mkdir()
    (site / ".git" / "config").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
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


def test_a_file_that_did_not_change_is_not_sent_again(http):
    first = http.get("/app.js")
    assert http.get("/app.js", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
