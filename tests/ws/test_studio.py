"""The page /asyncapi: what it is made of, and what it does in a real browser."""

import json
import re

import httpx
import pytest

from tests.browsing import browser, page_of
from tests.serving import free_port, serve, started
from tests.ws.conftest import APP, ENV, PROTOCOL, publish, run_server, token

JSON_HEADERS = {"Content-Type": "application/json"}


def test_the_page_takes_nothing_from_elsewhere_and_lets_no_other_script_run(server):
    answer = httpx.get(f"{server.url}/asyncapi")
    policy = answer.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)[1]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert re.findall(r"<script[^>]*>", answer.text) == [f'<script src="/_servey/studio/studio.js" nonce="{nonce}">']
    assert httpx.get(f"{server.url}/asyncapi").headers["content-security-policy"] != policy
    assert "//" not in re.sub(r"<!DOCTYPE html>", "", answer.text).replace("://", "")
    for name in ("studio.js", "studio.css"):
        file = httpx.get(f"{server.url}/_servey/studio/{name}")
        assert file.status_code == 200 and "http://" not in file.text and "https://" not in file.text
    assert httpx.get(f"{server.url}/_servey/studio/studio.py").status_code == 404


@pytest.mark.parametrize(
    ("channel", "body", "headers", "status"),
    [
        ("kept", {"event": 1}, {}, 200),
        ("plain", {"event": {"a": 1}, "subscriber_id": "me"}, {"Origin": "http://{host}"}, 200),
        ("kept", {"event": "x"}, {}, 422),
        ("kept", {}, {}, 422),
        ("other", {"event": 1}, {}, 404),
        ("kept", {"event": 1}, {"Origin": "https://evil.example"}, 403),
        ("kept", {"event": 1}, {"Origin": "https://good.example"}, 403),
        ("kept", {"event": 1}, {"Content-Type": "text/plain"}, 415),
    ],
    ids=range(8),
)
def test_test_events(server, channel, body, headers, status):
    given = {name: value.format(host=f"127.0.0.1:{server.port}") for name, value in headers.items()}
    answer = httpx.post(
        f"{server.url}/_servey/publish/{channel}", content=json.dumps(body), headers={**JSON_HEADERS, **given}
    )
    assert answer.status_code == status, answer.text


def test_production_publishes_no_test_events():
    with run_server(SERVEY_DOCS="1") as server:
        assert httpx.get(f"{server.url}/asyncapi").status_code == 200
        assert "data-publish" not in httpx.get(f"{server.url}/asyncapi").text
        assert httpx.post(f"{server.url}/_servey/publish/kept", json={"event": 1}).status_code == 404
    with run_server() as server:
        assert httpx.get(f"{server.url}/asyncapi").status_code == 404
        assert httpx.get(f"{server.url}/asyncapi.json").status_code == 404


@pytest.mark.browser
def test_in_a_browser():
    with serve(APP, words=PROTOCOL, **ENV) as server, browser() as opened, page_of(opened, allowed=("422",)) as page:
        page.goto(f"{server.url}/asyncapi")
        assert page.locator("nav button").all_inner_texts()[0].startswith("plain")
        assert "Anything at all." in page.locator("#about").inner_text()

        page.locator("nav button[data-channel=kept]").click()
        page.locator("#subscribe").click()
        page.locator("#status.open").wait_for()
        page.locator("#events .notice", has_text="subscribed as").wait_for()
        publish(server, "kept", 41)
        page.locator("#events .event pre", has_text="41").wait_for()
        assert re.fullmatch(r"[0-9a-f]+:1", page.locator("#events .event .cursor").first.inner_text())

        page.locator("#event").fill("42")
        page.locator("#publish").click()
        page.locator("#events .event pre", has_text="42").wait_for()
        page.locator("#event").fill('"x"')
        page.locator("#publish").click()
        page.locator("#published.error").wait_for()
        page.locator("#event").fill("{")
        page.locator("#publish").click()
        page.locator("#published.error", has_text="not JSON").wait_for()

        page.locator("#filter").fill("41")
        assert page.locator("#events .event:visible").count() == 1
        page.locator("#filter").fill("")
        page.locator("#pause").click()
        publish(server, "kept", 43)
        page.locator("#count", has_text="1 waiting").wait_for()
        page.locator("#pause").click()
        page.locator("#events .event pre", has_text="43").wait_for()

        page.locator("#events .event", has_text="41").get_by_role("button").click()
        cursor = page.locator("#after").input_value()
        page.locator("#subscribe").click()
        page.locator("#events .notice", has_text="unsubscribed").wait_for()
        page.locator("#clear").click()
        page.locator("#after").fill(cursor)
        page.locator("#subscribe").click()
        page.locator("#events .notice", has_text="nothing was missed").wait_for()
        page.locator("#events .event pre", has_text="43").wait_for()
        assert page.locator("#events .event pre").all_inner_texts() == ["43", "42"]

        page.locator("nav button[data-channel=guarded]").click()
        page.locator("#subscribe").click()
        page.locator("#events .error", has_text="unauthenticated").wait_for()
        page.locator("#token").fill(token("ada", "read"))
        page.locator("#token").blur()
        page.locator("#status", has_text="connected with token").wait_for()
        page.locator("#subscribe").click()
        publish(server, "guarded", 7, subject="ada")
        page.locator("#events .event", has_text="guarded").wait_for()


@pytest.mark.browser
def test_a_page_that_outlives_its_server(tmp_path):

    port = free_port()
    words = ["-m", "uvicorn", APP, *PROTOCOL, "--port", str(port)]
    with browser() as opened, page_of(opened, allowed=("WebSocket connection",)) as page:
        with started(words, port, SERVEY_ENV="dev") as server:
            page.goto(f"{server.url}/asyncapi")
            page.locator("#subscribe").click()
            page.locator("#events .notice", has_text="subscribed as").wait_for()
            server.end()
        page.locator("#status.waiting").wait_for()
        with started(words, port, SERVEY_ENV="dev") as server:
            page.locator("#status.open").wait_for(timeout=20_000)
            page.locator("#events .notice", has_text="subscribed as").nth(1).wait_for()
            publish(server, "plain", {"text": "back again"})
            page.locator("#events .event pre", has_text="back again").wait_for()
