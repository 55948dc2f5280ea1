"""Server-sent events of event channels, on real servers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.serving import wait_until
from tests.ws.conftest import publish, run_server, token

SSE = {"Accept": "text/event-stream"}


class Events:
    """The events of a stream, each a dict of its fields."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and set(fields) - {"retry"}:
                return fields
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        raise EOFError


@contextmanager
def stream(server, path: str, **headers: str) -> Iterator[Events]:
    with httpx.stream("GET", f"{server.url}/subscription{path}", headers={**SSE, **headers}, timeout=10) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        yield Events(answer)


def test_events_of_a_channel_without_history(server):
    with stream(server, "/plain") as events, stream(server, "/plain/you") as yours:
        publish(server, "plain", {"text": "ä\n☃"})
        publish(server, "plain", {"n": 1}, subscriber_id="you")
        assert json.loads(events.next()["data"]) == {"text": "ä\n☃"}
        assert json.loads(yours.next()["data"]) == {"text": "ä\n☃"}
        assert yours.next() == {"data": '{"n":1}'}


def test_resuming(server):
    with stream(server, "/kept") as events:
        ready = events.next()
        assert (ready["event"], ready["data"]) == ("ready", "{}")
        for number in range(4):
            publish(server, "kept", number)
        got = [events.next() for _ in range(4)]
        assert [event["data"] for event in got] == ["0", "1", "2", "3"]
        assert all(set(event) == {"id", "data"} for event in got)
    for place, missed in ((ready["id"], got), (got[1]["id"], got[2:])):
        with stream(server, "/kept", **{"Last-Event-ID": place}) as events:
            assert json.loads(events.next()["data"]) == {"recovered": True}
            assert [events.next() for _ in missed] == missed
            publish(server, "guarded", 1)
    with stream(server, "/kept", **{"Last-Event-ID": "forged:1"}) as events:
        ready = events.next()
        assert json.loads(ready["data"]) == {"recovered": False}
        publish(server, "kept", 9)
        assert events.next()["data"] == "9"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/other", {}, 404, "not_found"),
        ("/guarded", {}, 401, "unauthenticated"),
        ("/guarded", {"Authorization": f"Bearer {token('bob', seconds=3600)}"}, 403, "forbidden"),
        ("/guarded/mine", {"Authorization": f"Bearer {token('ada', 'read', seconds=3600)}"}, 403, "forbidden"),
        ("/plain", {"Authorization": "Bearer not.a.token"}, 401, "unauthenticated"),
    ],
    ids=range(5),
)
def test_a_refused_stream_is_an_ordinary_error(server, path, headers, status, code):
    answer = httpx.get(f"{server.url}/subscription{path}", headers={**SSE, **headers})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_an_id_that_can_not_be(server):
    answer = httpx.get(f"{server.url}/subscription/plain/{'x' * 129}")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["path", "subscriber_id"])


def test_a_head_and_another_method(server):
    assert httpx.head(f"{server.url}/subscription/plain").headers["content-type"].startswith("text/event-stream")
    assert httpx.post(f"{server.url}/subscription/plain").status_code == 405


def test_it_ends_with_its_token(server):
    with stream(server, "/guarded", Authorization=f"Bearer {token('ada', 'read', seconds=2)}") as events:
        assert events.next()["event"] == "ready"
        assert events.next()["event"] == "error"
        with pytest.raises(EOFError):
            events.next()


def test_leaving_ends_the_subscription(server):
    for _ in range(5):
        with stream(server, "/plain") as events:
            publish(server, "plain", {})
            events.next()
    wait_until(
        lambda: httpx.get(f"{server.url}/actions/state").json()["subscriptions"] == 0, "the end of all subscriptions"
    )
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_silence_is_pinged():
    with run_server(SERVEY_CHANNEL_PING="0.1") as server:
        with httpx.stream("GET", f"{server.url}/subscription/plain", headers=SSE, timeout=10) as answer:
            lines = answer.iter_lines()
            assert [next(lines) for _ in range(5)] == ["retry: 2000", "", ": ping", "", ": ping"]
