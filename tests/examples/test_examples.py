"""The small examples, each served as its README says."""

import json

import httpx
import pytest
from websockets.sync.client import connect

from tests.serving import ROOT, run, serve

DISCOVERED = "servey.server:discovered_app"


def test_hello_world():
    with serve(DISCOVERED, factory=True, cwd="examples/hello_world") as server:
        index = httpx.get(server.url)
        assert '<a href="/say-hello?name=Ada">Ada</a>' in index.text
        assert "<h1>Hello Ada!</h1>" in httpx.get(f"{server.url}/say-hello?name=Ada").text
        assert httpx.get(f"{server.url}/actions/say-hello").json() == "Hello World!"


def test_end_to_end():
    with serve(DISCOVERED, factory=True, cwd="examples/end_to_end", SERVEY_LOGIN_PASSWORD="open sesame") as server:
        with (
            httpx.Client(base_url=server.url) as http,
            connect(f"{server.url.replace('http', 'ws')}/subscription/entries") as socket,
        ):
            assert "What our guests say" in http.get("/").text
            assert "There is no such page" in http.get("/nowhere").text
            signed = http.post("/guest-book", data={"name": "Grace", "text": "<b>hello"})
            assert (signed.status_code, signed.headers["location"]) == (303, "/guest-book")
            assert json.loads(socket.recv(timeout=10)) == {"name": "Grace", "text": "<b>hello"}
            assert "&lt;b&gt;hello" in http.get("/guest-book").text
            assert http.get("/actions/list-entries").json()[0]["name"] == "Grace"
            assert http.post("/guest-book", data={"name": "G", "text": ""}).status_code == 422
            assert http.get("/back-office").status_code == 401
            logged_in = http.post(
                "/login",
                data={"username": "root", "password": "open sesame", "next": "/back-office"},
                headers={"Accept": "text/html", "Origin": server.url},
            )
            assert logged_in.headers["location"] == "/back-office"
            assert "2 entries" in http.get("/back-office").text


@pytest.mark.parametrize(
    ("words", "shown"), [(("call", "miles_to_km", "amount=26.2"), "42.165\n"), (("actions",), "pounds_to_kg")]
)
def test_generated(words, shown):
    assert shown in run("-m", "servey", *words, cwd=ROOT / "examples" / "generated").stdout
