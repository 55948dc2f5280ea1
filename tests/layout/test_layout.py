"""The layout of pages: the same for Servey's own and for templates that extend it, with nothing from elsewhere."""

import re

import pytest

from servey import Settings, WebPageTrigger, action, create_app
from servey.layout.frame import FILES, Frame, stylesheet
from servey.layout.page import shipped_page
from servey.testing import client

BROWSER = {"Accept": "text/html"}
TEMPLATE = """{% extends "servey/layout.j2" %}
{% block title %}Greeting{% endblock %}
{% block main %}<h1>Hello {{ model }}</h1>{% endblock %}"""


@action(triggers=WebPageTrigger())
async def greeting(name: str = "Ada") -> str:
    return name


def app(folder, **settings):
    (folder / "greeting.j2").write_text(TEMPLATE, encoding="utf-8")
    return create_app(
        actions=[greeting],
        settings=Settings(template_path=str(folder), api_title="<Parcels>", **settings),
        version="7.1",
    )


def tags(html: str) -> list[str]:
    """The elements of a document that make up its layout."""
    plain = re.sub(r"<style.*?</style>|<link rel=\"stylesheet\"[^>]*>", "<style>", html, flags=re.DOTALL)
    return re.findall(r"<(?!a href|br|p\b)[a-z!][^>]*>", plain)


@pytest.mark.parametrize("prefix", ["", "/inner"])
def test_a_template_extends_the_layout(tmp_path, prefix):
    made = app(tmp_path)
    if prefix:
        from fastapi import FastAPI

        host = FastAPI(title="<Parcels>")
        made.install(host, prefix=prefix)
        made = host
    with client(made) as http:
        page = http.get(f"{prefix}/greeting?name=<b>")
        assert "<h1>Hello &lt;b&gt;</h1>" in page.text
        assert "<title>Greeting</title>" in page.text
        assert "&lt;Parcels&gt;" in page.text
        assert "<Parcels>" not in page.text
        (style,) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
        assert http.get(style).text == stylesheet("frame", "page")
        assert http.get(style).headers["content-type"].startswith("text/css")


def test_both_layouts_are_one(tmp_path):
    with client(app(tmp_path)) as http:
        extended = http.get("/greeting").text
    ours = bytes(shipped_page(Frame("<Parcels>"), "Greeting", "<h1>Hello Ada</h1>").body).decode()
    assert tags(extended) == tags(ours)


def test_a_public_page_extends_it_and_stays_public(tmp_path):
    """The layout reads neither the request nor the authorization, so it makes no page private."""
    text = (FILES / "layout.j2").read_text(encoding="utf-8")
    assert "request" not in text
    assert "authorization" not in text


def test_a_stranger_in_production_learns_no_version_and_no_links(tmp_path):
    with client(app(tmp_path)) as http:
        page = http.get("/nowhere", headers=BROWSER)
    assert page.status_code == 404
    assert "7.1" not in page.text
    assert "<nav" not in page.text


def test_development_shows_the_version_and_the_links(tmp_path):
    with client(app(tmp_path, env="dev", jwt_secret_key="a-secret-of-more-than-32-bytes-for-tests")) as http:
        page = http.get("/nowhere", headers=BROWSER)
        assert "7.1" in page.text
        assert {"/_servey", "/docs", "/redoc", "/login"} <= set(re.findall(r'href="([^"]+)"', page.text))
        root = http.get("/", headers=BROWSER, follow_redirects=False)
        assert (root.status_code, root.headers["location"]) == (303, "/_servey")
        assert http.get("/").status_code == 404


def test_production_has_nothing_at_the_root(tmp_path):
    with client(app(tmp_path)) as http:
        assert http.get("/", headers=BROWSER, follow_redirects=False).status_code == 404


def test_redoc_does_not_ask_its_maker(tmp_path):
    with client(app(tmp_path, docs=True)) as http:
        script = http.get("/_servey/assets/redoc.standalone.js")
        assert (script.status_code, "cdn.redoc" in script.text) == (200, False)


def test_the_stylesheet_is_small():
    assert len(stylesheet("frame", "page")) < 15_000
