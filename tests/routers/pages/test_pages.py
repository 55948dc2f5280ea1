"""Pages: an action's result shown by a template."""

import pytest

from servey import ConfigError, Redirect
from servey.testing import client
from tests.routers.pages.pages_app import app, project


def test_a_page_is_its_template_with_the_model(http):
    page = http.get("/current-time-page")
    assert page.text == "<h1>The current time is 2030-01-02 03:04:00</h1>"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]


def test_the_model_is_the_users_own_object(http):
    page = http.get("/items/tea?price=2")
    assert "<p>tea for 2.00" in page.text
    assert 'const item = {"name":"tea","price":2.0}' in page.text
    assert 'href="/current-time-page"' in page.text
    assert page.text.endswith("/items/tea")


def test_it_answers_head_and_no_other_method(http):
    answer = http.head("/current-time-page")
    assert (answer.status_code, answer.content) == (200, b"")
    wrong = http.post("/current-time-page")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_an_action_has_its_page_and_its_route(http):
    assert http.get("/actions/item?name=tea").json() == {"name": "tea", "price": 1.5}
    assert "tea for 1.50" in http.get("/items/tea").text
    assert http.post("/actions/order", json={"name": "ada"}).json()["count"] == 1
    assert "/items/{name}" not in http.get("/openapi.json").json()["paths"]


def test_a_response_of_its_own_and_a_stream(http):
    assert http.get("/whole").text == "as it is"
    assert http.get("/numbers").text == "0-1-2"


def test_a_status_headers_and_another_template(http):
    page = http.get("/dressed?header=y")
    assert (page.status_code, page.text, page.headers["x-mine"]) == (203, "tea", "y")
    assert "tea for 2.00" in http.get("/dressed?template=item.j2").text
    assert http.get("/actions/dressed").json() == {"name": "tea", "price": 2.0}


def test_a_redirect(http):
    answer = http.get("/moved")
    assert (answer.status_code, answer.headers["location"]) == (307, "/current-time-page")
    assert http.get("/moved?status=303").status_code == 303
    assert http.get("/actions/moved").json() == {"url": "/current-time-page", "status_code": 307}


def test_what_is_not_a_redirect_is_said_at_once():
    with pytest.raises(ConfigError, match="one of 301, 302, 303, 307, 308"):
        Redirect("/", 200)


def test_cache_controls_apply(http):
    page = http.get("/kept")
    assert page.headers["cache-control"] == "private, no-cache"
    assert page.headers["vary"] == "Authorization, Cookie"
    assert http.get("/kept", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert http.get("/rare").headers["cache-control"] == "private, max-age=60"
    assert "rare for 1.00" in http.get("/rare").text  # from what the server has kept


def test_templates_are_read_again_in_development(tmp_path):
    folder = project(tmp_path)
    with client(app(folder)) as dev, client(app(folder, env="prod")) as prod:
        for http in (dev, prod):
            assert "The current time" in http.get("/current-time-page").text
        (folder / "current_time_page.j2").write_text("changed and longer than it was before, by far", encoding="utf-8")
        assert dev.get("/current-time-page").text.startswith("changed")
        assert prod.get("/current-time-page").text.startswith("<h1>")
