"""Event channels as GraphQL subscriptions."""

import time

import pytest

from servey import ConfigError, websocket_event_channel
from servey.testing import token_for
from tests.graphql.graphql_client import app_of
from tests.graphql.served import count
from tests.graphql.socket_client import ADA, BOSS, connected


def publish(http, number: int, subscriber_id: str | None = None) -> None:
    query = "mutation($n: Int!, $s: String) { tick(number: $n, subscriberId: $s) }"
    answer = http.post("/graphql", json={"query": query, "variables": {"n": number, "s": subscriber_id}})
    assert answer.json() == {"data": {"tick": True}}


def wait_for_subscribers(app, channel: str, number: int) -> None:
    deadline = time.monotonic() + 5
    while app.runtime.subscriptions.count < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_channels_are_subscriptions_with_their_filter(app, http):
    with connected(http) as ordinary, connected(http) as boss:
        ordinary.init()
        boss.init(Authorization=f"Bearer {token_for(app, BOSS)}")
        for socket in (ordinary, boss):
            socket.subscribe("subscription { ticks { number twice } }")
        wait_for_subscribers(app, "ticks", 2)
        for number in (-1, 2):
            publish(http, number)
        assert ordinary.next()["payload"] == {"data": {"ticks": {"number": 2, "twice": 4}}}
        assert [boss.next()["payload"]["data"]["ticks"]["number"] for _ in range(2)] == [-1, 2]
    deadline = time.monotonic() + 5
    while app.runtime.subscriptions.count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_channels_have_their_access_control(app, http):
    with connected(http) as socket:
        socket.init()
        socket.subscribe("subscription { guardedTicks { number } }")
        assert socket.all_of()[0][0]["extensions"]["code"] == "unauthenticated"
    with connected(http) as socket:
        socket.init(Authorization=f"Bearer {token_for(app, ADA)}")
        socket.subscribe("subscription { guardedTicks { number } }")
        assert socket.all_of()[0][0]["extensions"]["code"] == "forbidden"
        socket.subscribe('subscription { guardedTicks(subscriberId: "x") { number } }')
        assert socket.all_of()[0][0]["extensions"]["code"] == "invalid_document"
    with connected(http) as socket:
        socket.init(Authorization=f"Bearer {token_for(app, BOSS)}")
        socket.subscribe("subscription { guardedTicks { number } }")
        wait_for_subscribers(app, "guarded_ticks", 1)
        publish(http, 7)
        assert socket.next()["payload"] == {"data": {"guardedTicks": {"number": 7}}}


def test_events_for_one_subscriber(app, http):
    with connected(http) as one, connected(http) as other:
        for name, socket in (("one", one), ("other", other)):
            socket.init()
            socket.subscribe("subscription($id: String) { ticks(subscriberId: $id) { number } }", id=name)
        wait_for_subscribers(app, "ticks", 2)
        publish(http, 1, "one")
        publish(http, 2)
        assert [one.next()["payload"]["data"]["ticks"]["number"] for _ in range(2)] == [1, 2]
        assert other.next()["payload"]["data"]["ticks"]["number"] == 2


def test_a_channel_is_in_the_schema_and_collisions_are_errors():
    clash = websocket_event_channel("count", int)
    with pytest.raises(ConfigError, match="both the subscription 'count'"):
        app_of(count, channels=[clash])
