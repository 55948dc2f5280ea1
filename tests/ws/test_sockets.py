"""Websockets of event channels, on real servers."""

import json
import time

import httpx
import pytest
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from servey import Settings, create_app, websocket_event_channel
from servey.testing import client
from tests.serving import wait_until
from tests.ws.conftest import ask, open_socket, publish, received, token


def closed(socket) -> tuple[int, str]:
    """What a socket was closed with, once it is."""
    with pytest.raises(ConnectionClosed) as raised:
        while True:
            socket.recv(timeout=5)
    assert raised.value.rcvd is not None
    return raised.value.rcvd.code, raised.value.rcvd.reason


def bearer(*words: str, **options) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(*words, **options)}"}


def test_bare_events(server):
    with open_socket(server, "/plain") as first, open_socket(server, "/plain/mine") as mine:
        publish(server, "plain", {"n": 1, "text": "ä☃"})
        publish(server, "plain", {"n": 2}, subscriber_id="mine")
        publish(server, "plain", {"n": 3})
        assert [received(first) for _ in range(2)] == [{"n": 1, "text": "ä☃"}, {"n": 3}]
        assert [received(mine)["n"] for _ in range(3)] == [1, 2, 3]
        mine.send("anything")
        publish(server, "plain", {"n": 4})
        assert received(mine) == {"n": 4}


def test_many_channels_on_one_socket(server):
    with open_socket(server) as socket:
        told = ask(socket, type="Subscribe", payload="plain", subscriber_id="me")
        assert told == {"type": "Subscribed", "channel": "plain", "subscriber_id": "me"}
        told = ask(socket, type="Subscribe", payload="kept")
        assert set(told) == {"type", "channel", "cursor", "subscriber_id"} and len(told["subscriber_id"]) >= 22
        publish(server, "plain", {"n": 1}, subscriber_id="me")
        assert received(socket) == {"type": "Event", "channel": "plain", "payload": {"n": 1}}
        publish(server, "kept", 7)
        event = received(socket)
        assert event == {"type": "Event", "channel": "kept", "payload": 7, "cursor": event["cursor"]}
        assert ask(socket, type="Unsubscribe", payload="plain") == {"type": "Unsubscribed", "channel": "plain"}
        publish(server, "plain", {"n": 2}, subscriber_id="me")
        assert ask(socket, type="Unsubscribe", payload="kept")["type"] == "Unsubscribed"


def test_resuming(server):
    with open_socket(server) as socket:
        begun = ask(socket, type="Subscribe", payload="kept")["cursor"]
        for number in range(3):
            publish(server, "kept", number)
        cursors = [received(socket)["cursor"] for _ in range(3)]
    with open_socket(server) as socket:
        assert ask(socket, type="Subscribe", payload="kept", after=cursors[0])["recovered"] is True
        assert [(received(socket)["payload"], number) for number in (1, 2)] == [(1, 1), (2, 2)]
        publish(server, "kept", 3)
        assert received(socket)["payload"] == 3
    with open_socket(server) as socket:
        assert ask(socket, type="Subscribe", payload="kept", after=begun)["recovered"] is True
        assert [received(socket)["payload"] for _ in range(4)] == [0, 1, 2, 3]
    with open_socket(server) as socket:
        told = ask(socket, type="Subscribe", payload="kept", after="other:1")
        assert told["recovered"] is False and told["cursor"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "invalid_frame"),
        ("{", "invalid_frame"),
        ("[]", "invalid_frame"),
        ("null", "invalid_frame"),
        ("NaN", "invalid_frame"),
        ('"Subscribe"', "invalid_frame"),
        ("[" * 50_000, "invalid_frame"),
        ("x" * 70_000, "invalid_frame"),
        (b"\x00\x01", "invalid_frame"),
        ('{"type": "Publish", "payload": "plain"}', "invalid_frame"),
        ('{"type": ["Subscribe"], "payload": "plain"}', "invalid_frame"),
        ('{"type": "Subscribe"}', "invalid_frame"),
        ('{"type": "Subscribe", "payload": 1}', "invalid_frame"),
        ('{"type": "Subscribe", "payload": "kept", "after": 1}', "invalid_frame"),
        ('{"type": "Subscribe", "payload": "plain", "subscriber_id": ""}', "invalid_frame"),
        ('{"type": "Subscribe", "payload": "plain", "subscriber_id": "' + "x" * 129 + '"}', "invalid_frame"),
        ('{"type": "Subscribe", "payload": "other"}', "not_found"),
        ('{"type": "Subscribe", "payload": "' + "x" * 300 + '"}', "not_found"),
        ('{"type": "Unsubscribe", "payload": "plain"}', "not_found"),
        ('{"type": "Subscribe", "payload": "guarded"}', "unauthenticated"),
    ],
    ids=range(20),
)
def test_a_bad_frame_gets_an_error_and_the_socket_lives(server, frame, code):
    with open_socket(server) as socket:
        socket.send(frame)
        error = received(socket)
        assert (error["type"], error["code"]) == ("Error", code)
        assert isinstance(error["detail"], str) and len(json.dumps(error)) < 1000
        assert ask(socket, type="Subscribe", payload="plain")["type"] == "Subscribed"
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_subscribing_twice(server):
    with open_socket(server) as socket:
        ask(socket, type="Subscribe", payload="plain")
        assert ask(socket, type="Subscribe", payload="plain")["code"] == "conflict"


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/other", {}, 4404),
        ("/guarded", {}, 4401),
        ("/guarded", bearer("bob", seconds=3600), 4403),
        ("/guarded", {"Authorization": "Bearer not.a.token"}, 4401),
        ("/guarded/mine", bearer("ada", "read", seconds=3600), 4403),
        ("", {"Authorization": "Bearer not.a.token"}, 4401),
        ("/guarded", bearer("ada", "read", seconds=-20), 4401),
    ],
    ids=range(7),
)
def test_a_refused_connection_is_accepted_and_closed(server, path, headers, code):
    with open_socket(server, path, additional_headers=headers) as socket:
        got, reason = closed(socket)
        assert got == code and reason


def test_the_three_ways_to_show_a_token(server):
    good = token("ada", "read")
    with open_socket(server, "/guarded", additional_headers={"Authorization": f"bearer {good}"}) as socket:
        publish(server, "guarded", 1)
        assert received(socket) == 1
    with open_socket(server, "/guarded", subprotocols=["servey", f"bearer.{good}"]) as socket:
        assert socket.subprotocol == "servey"
        publish(server, "guarded", 2)
        assert received(socket) == 2
    with open_socket(server) as socket:
        assert ask(socket, type="Authorize", payload=good) == {"type": "Authorized"}
        assert ask(socket, type="Subscribe", payload="guarded")["type"] == "Subscribed"
        assert ask(socket, type="Authorize", payload=token("bob"))["code"] == "forbidden"
        assert ask(socket, type="Authorize", payload=token("ada", "read")) == {"type": "Authorized"}
        publish(server, "guarded", 3, subject="ada")
        assert received(socket)["payload"] == 3
        assert ask(socket, type="Authorize", payload=token("ada")) == {"type": "Authorized"}
        assert received(socket)["code"] == "forbidden"
        assert received(socket) == {"type": "Unsubscribed", "channel": "guarded"}
        socket.send(json.dumps({"type": "Authorize", "payload": "not.a.token"}))
        assert closed(socket)[0] == 4401


def test_a_socket_of_a_token_without_a_subject_does_not_become_somebodys(server):
    with open_socket(server, additional_headers=bearer(None, "read")) as socket:
        assert ask(socket, type="Subscribe", payload="guarded")["type"] == "Subscribed"
        assert ask(socket, type="Authorize", payload=token("bob", "read"))["code"] == "forbidden"
        assert ask(socket, type="Authorize", payload=token(None, "read")) == {"type": "Authorized"}


def test_filters_follow_the_token(server):
    with open_socket(server) as socket:
        begun = ask(socket, type="Subscribe", payload="filtered")["cursor"]
        for number in (200, 1):
            publish(server, "filtered", number)
        assert received(socket)["payload"] == 1
        assert ask(socket, type="Authorize", payload=token("ada", "read")) == {"type": "Authorized"}
        publish(server, "filtered", 300)
        assert received(socket)["payload"] == 300
    with open_socket(server) as socket:
        ask(socket, type="Subscribe", payload="filtered", after=begun)
        assert received(socket)["payload"] == 1
        publish(server, "filtered", 2)
        assert received(socket)["payload"] == 2


def test_the_last_token_says_when_a_socket_ends(server):
    begun = time.monotonic()
    with (
        open_socket(server, additional_headers=bearer("ada", "read", seconds=60)) as sooner,
        open_socket(server, additional_headers=bearer("ada", "read", seconds=2)) as later,
    ):
        for socket, seconds in ((sooner, 2), (later, 60)):
            assert ask(socket, type="Subscribe", payload="guarded")["type"] == "Subscribed"
            assert ask(socket, type="Authorize", payload=token("ada", "read", seconds=seconds)) == {
                "type": "Authorized"
            }
        assert closed(sooner)[0] == 4401
        assert 1 < time.monotonic() - begun < 5
        publish(server, "guarded", 7)
        assert received(later)["payload"] == 7


def test_a_socket_ends_with_its_token(server):
    begun = time.monotonic()
    with open_socket(server, "/guarded", additional_headers=bearer("ada", "read", seconds=2)) as socket:
        assert closed(socket)[0] == 4401
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("origin", "known"),
    [
        ("https://good.example", True),
        ("HTTPS://GOOD.example", True),
        ("http://127.0.0.1:{port}", True),
        ("https://good.example:8443", False),
        ("http://good.example", False),
        ("https://good.example.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("http://127.0.0.1:1", False),
        ("file://", False),
    ],
)
def test_origins(server, origin, known):
    headers = {"Origin": origin.format(port=server.port)}
    if known:
        with open_socket(server, "/plain", additional_headers=headers):
            return
    with pytest.raises(InvalidStatus) as raised, open_socket(server, "/plain", additional_headers=headers):
        pass
    assert raised.value.response.status_code == 403


def test_leaving_ends_the_subscriptions(server):
    for _ in range(20):
        with open_socket(server) as socket:
            ask(socket, type="Subscribe", payload="plain")
            ask(socket, type="Subscribe", payload="kept")
    wait_until(
        lambda: httpx.get(f"{server.url}/actions/state").json()["subscriptions"] == 0, "the end of all subscriptions"
    )
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------- what stands around them


def test_middleware_stands_around_websockets_too():
    seen = []

    class Noting:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            seen.append(scope["type"])
            await self.app(scope, receive, send)

    app = create_app(channels=[websocket_event_channel("told", str)], settings=Settings(env="dev"))
    app.add_middleware(Noting)
    with client(app) as http, http.websocket_connect("/subscription") as socket:
        socket.send_json({"type": "Subscribe", "payload": "told"})
        assert socket.receive_json()["type"] == "Subscribed"
    assert "websocket" in seen


def test_a_route_that_was_there_before_is_served():
    async def own(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"own {websocket.path_params['rest']}")
        await websocket.close()

    app = create_app(channels=[websocket_event_channel("told", str)], settings=Settings(env="dev"))
    app.router.routes.insert(0, WebSocketRoute("/subscription/{rest}", own))
    with client(app) as http:
        with http.websocket_connect("/subscription/told") as socket:
            assert socket.receive_text() == "own told"
        with http.websocket_connect("/subscription/told/mine") as socket:
            socket.send_text("nothing")  # of the channel, which takes nothing
        with pytest.raises(WebSocketDisconnect), http.websocket_connect("/nowhere"):
            pass
