"""The console's pages of channels: who listens, what was published, and test events."""

import json
import logging
import re

import pytest

from servey import Authorization
from servey.testing import client, token_for
from tests.console.app import HOSTILE, app

BROWSER = {"Accept": "text/html"}
OWN = {**BROWSER, "Origin": "http://testserver"}
PAGE = "/_servey/channels/parcels"


@pytest.fixture
def http():
    with client(app()) as made:
        yield made


def publish(http, event: object, channel: str = "parcels", **more: str):
    text = event if isinstance(event, str) else json.dumps(event)
    return http.post(f"/_servey/channels/{channel}", data={"event": text, **more}, headers=OWN)


def tiles(page: str) -> dict[str, str]:
    return {name: number for number, name in re.findall(r"<li><b>([^<]*)</b><span>([^<]*)</span></li>", page)}


def test_a_test_event_reaches_subscribers_and_the_history(http, caplog):
    caplog.set_level(logging.INFO, "servey.audit")
    with http.websocket_connect("/subscription/parcels") as socket:
        answer = publish(http, {"parcel": 7, "place": HOSTILE, "door_secret": "1234"})
        assert (answer.status_code, "The event was published." in answer.text) == (200, True)
        assert socket.receive_json() == {"parcel": 7, "place": HOSTILE, "door_secret": "1234"}
        page = http.get(PAGE, headers=BROWSER).text
        shown = tiles(page)
        assert (shown["subscribers"], shown["published"], shown["delivered"]) == ("1", "1", "1")
        assert ("&lt;script&gt;" in page, HOSTILE in page, "1234" in page) == (True, False, False)
        assert re.search(r"<code class=\"quiet\">\w+:1</code>", page)
        row = re.search(r"channels/parcels\">.*?</tr>", http.get("/_servey/channels", headers=BROWSER).text, re.DOTALL)[
            0
        ]
        assert 'data-label="Subscribers">1</td>' in row
    line = next(each for each in caplog.records if each.name == "servey.audit")
    assert "test event of the channel parcels" in line.message


def test_an_event_for_one_subscriber_does_not_show_its_id(http):
    with http.websocket_connect("/subscription/parcels/a-secret-id") as socket:
        publish(http, {"parcel": 1, "place": "door"}, to="a-secret-id")
        assert socket.receive_json()["parcel"] == 1
    page = http.get(PAGE, headers=BROWSER).text
    assert ("one subscriber" in page, "a-secret-id" in page) == (True, False)


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "This is not JSON"), ('{"parcel": "x", "place": "door"}', "parcel: Input should be")]
)
def test_an_event_that_does_not_fit_is_refused_and_kept_in_the_form(http, text, problem):
    answer = publish(http, text)
    assert (answer.status_code, problem in answer.text) == (422, True)
    assert text.replace('"', "&#34;") in answer.text
    assert tiles(answer.text)["published"] == "0"


def test_the_form_begins_with_an_event_that_fits(http):
    page = http.get(PAGE, headers=BROWSER).text
    sample = re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)[1].replace("&#34;", '"')
    assert publish(http, sample).status_code == 200


def test_subscribers_are_counted_by_subject(http):
    token = token_for(http.app, Authorization("ada", frozenset({"parcels:read"})))
    headers = {"Authorization": f"Bearer {token}"}
    with (
        http.websocket_connect("/subscription/unheard", headers=headers),
        http.websocket_connect("/subscription/unheard", headers=headers),
    ):
        page = http.get("/_servey/channels/unheard", headers=BROWSER).text
        assert "<span>ada</span> <b>2</b>" in page
        assert "This channel keeps no events" in page
    assert http.get("/_servey/channels/none", headers=BROWSER).status_code == 404


def test_in_production_test_events_are_for_subscribers_only():
    made = app(env="prod", console=True)
    operator = {"Authorization": f"Bearer {token_for(made, Authorization('grace', frozenset({'servey:operate'})))}"}
    with client(made) as http:
        data = {"event": '{"parcel": 1, "place": "door"}'}
        assert http.post(PAGE, data=data, headers=OWN).status_code == 401
        assert http.post(PAGE, data=data, headers=operator).status_code == 200
        assert "data-confirm" in http.get(PAGE, headers=operator).text
        # Its event would call an action.
        refused = http.post("/_servey/channels/weighed", data={"event": "1"}, headers=operator)
        assert refused.status_code == 403
        assert "<textarea" not in http.get("/_servey/channels/weighed", headers=operator).text
