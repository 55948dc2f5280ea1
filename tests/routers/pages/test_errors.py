"""Error pages, and problems of pages that stop the start."""

import logging

import pytest

from servey import ConfigError, WebPageTrigger, action
from servey.testing import client
from tests.routers.pages.pages_app import app, item, project


def test_an_error_is_a_page(http):
    page = http.get("/items/none")
    assert (page.status_code, page.headers["cache-control"]) == (404, "no-store")
    assert "no such item" in page.text
    assert 'data-code="not_found"' in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_an_unexpected_error_is_explained_in_development_only(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    with client(app(project(tmp_path))) as http:
        page = http.get("/broken")
        assert (page.status_code, "RuntimeError: db://user:pw@host" in page.text) == (500, True)
        assert "hunter2" not in page.text
        assert "db://" not in http.get("/broken", headers={"Accept": "text/html"}).headers.values()
    with client(app(project(tmp_path), env="prod")) as http:
        page = http.get("/broken")
        assert page.status_code == 500
        assert "RuntimeError" not in page.text
        assert "db://" not in page.text
        assert page.headers["x-request-id"] in page.text


def test_a_name_that_is_not_there_is_an_error_with_its_line(http, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    page = http.get("/misspelt")
    assert page.status_code == 500
    assert "mdoel" in page.text
    assert "misspelt.j2&quot;, line 2" in page.text


@pytest.mark.parametrize("name", ["errors/not_found.j2", "errors/404.j2"])
def test_a_project_has_its_own_error_pages(tmp_path, name):
    with client(app(project(tmp_path, **{name: "<p>{{ error.detail }}, says {{ error.status }}"}))) as http:
        page = http.get("/items/none")
    assert (page.status_code, page.text) == (404, "<p>no such item, says 404")
    assert page.headers["cache-control"] == "no-store"


def test_its_own_page_of_invalid_fields_has_their_messages_and_values(tmp_path):
    own = "{{ values.name }}|{{ errors.count }}|{{ errors.name is defined }}|{{ url_for('order') }}"
    with client(app(project(tmp_path, **{"errors/422.j2": own}))) as http:
        page = http.post("/orders", data={"name": "<b>", "count": "many"})
    assert page.text.startswith("&lt;b&gt;|Input should be a valid integer")
    assert page.text.endswith("|False|/orders")


def test_an_error_page_that_fails_is_not_the_last_word(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "servey")
    with client(app(project(tmp_path, **{"errors/404.j2": "{{ nothing }}"}))) as http:
        page = http.get("/items/none")
    assert (page.status_code, "no such item" in page.text) == (404, True)


def test_what_is_wrong_with_templates_is_said_at_start(tmp_path):
    @action(triggers=WebPageTrigger())
    async def lost() -> None: ...

    @action(triggers=WebPageTrigger(template_name="bad.j2"))
    async def bad() -> None: ...

    @action(triggers=WebPageTrigger(template_name="child.j2"))
    async def child() -> None: ...

    @action(triggers=WebPageTrigger(template_name="../outside.j2"))
    async def outside() -> None: ...

    folder = project(
        tmp_path / "templates",
        **{"bad.j2": "a\nb {% if %}", "child.j2": "{% extends 'parent.j2' %}", "errors/404.j2": "{{"},
    )
    (tmp_path / "outside.j2").write_text("secret", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        app(folder, lost, bad, child, outside)
    told = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 5
    assert "action 'lost'" in told
    assert "lost.j2" in told
    assert "bad.j2:2: Expected an expression" in told
    assert "parent.j2" in told
    assert "child.j2" in told
    assert "errors/404.j2:1" in told
    assert "test_errors.py" in told


def test_two_of_one_path_are_said_at_start(tmp_path):
    @action(triggers=WebPageTrigger(path="/actions/item", template_name="item.j2"))
    async def other() -> None: ...

    with pytest.raises(ConfigError, match="page of action 'other'.* and a route of action 'item'"):
        app(project(tmp_path), item, other)


def test_a_path_with_a_parameter_that_is_none(tmp_path):
    @action(triggers=WebPageTrigger(path="/x/{y}", template_name="item.j2"))
    async def one() -> None: ...

    with pytest.raises(ConfigError, match="has 'y', which is not a parameter"):
        app(project(tmp_path), one)
