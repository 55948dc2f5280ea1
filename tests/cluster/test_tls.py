"""The cluster behind the proxy that terminates TLS: https, the caller's address, secure cookies."""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.cluster.engine import PASSWORD

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]


@pytest.fixture
def http(front):
    # Another address of this machine than the proxy's own, so that the two cannot be confused.
    transport = httpx.HTTPTransport(verify=front.context, local_address="127.0.0.7")
    with httpx.Client(base_url=front.url, transport=transport, timeout=10) as client:
        yield client


def test_an_action_sees_https_and_the_callers_address(http):
    seen = http.get("/actions/caller").json()
    assert seen == {"client": "127.0.0.7", "url": f"{http.base_url}/actions/echo"}


def test_what_a_caller_says_of_itself_is_not_believed(http):
    false = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Real-IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
    }
    seen = http.get("/actions/caller", headers=false).json()
    assert seen == {"client": "127.0.0.7", "url": f"{http.base_url}/actions/echo"}


def test_redirects_lead_to_https(http):
    answer = http.get("/actions/echo/?text=x")
    assert answer.status_code == 307
    assert answer.headers["Location"] == f"{http.base_url}/actions/echo?text=x"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_browser_logs_in_and_gets_a_secure_cookie(http):
    origin = str(http.base_url)
    form = {"username": "root", "password": PASSWORD, "next": "/office"}
    browser = {"Accept": "text/html", "Origin": origin}
    answer = http.post("/login", data=form, headers=browser)
    assert answer.status_code == 303, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert {"Secure", "HttpOnly", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    token = cookie.partition(";")[0]
    assert http.get("/office", headers={"Cookie": token}).text == "<p>root</p>"
    other = {**browser, "Origin": origin.replace("localhost", "other.example")}
    assert http.post("/login", data=form, headers=other).status_code == 403


def test_a_websocket_opens_for_pages_of_this_origin_only(front):
    place = front.url.replace("https", "wss") + "/subscription"

    async def subscribe(origin):
        async with connect(place, ssl=front.context, origin=origin) as socket:
            await socket.send(json.dumps({"type": "Subscribe", "payload": "numbers"}))
            return json.loads(await socket.recv())["type"]

    assert asyncio.run(subscribe(front.url)) == "Subscribed"
    with pytest.raises(InvalidStatus):
        asyncio.run(subscribe(front.url.replace("localhost", "other.example")))
