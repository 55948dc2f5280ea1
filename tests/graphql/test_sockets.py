"""graphql-transport-ws: every message type, violations of the protocol, origins, tokens."""

import asyncio
import time
from contextlib import nullcontext

import pytest
from starlette.websockets import WebSocketDisconnect

from servey.testing import client, token_for
from tests.graphql.served import app as served_app
from tests.graphql.socket_client import ADA, BOSS, PROTOCOL, connected


def test_queries_mutations_and_streams(http):
    with connected(http) as socket:
        assert socket.session.accepted_subprotocol == PROTOCOL
        socket.init()
        socket.subscribe("{ who }")
        assert socket.all_of() == [{"data": {"who": None}}]
        socket.subscribe("subscription($n: Int!) { count(upto: $n) { number twice } }", n=3)
        assert socket.all_of() == [{"data": {"count": {"number": n, "twice": 2 * n}}} for n in range(3)]
        socket.subscribe("mutation { tick(number: 1) }", "m")
        assert socket.all_of("m") == [{"data": {"tick": True}}]


def test_invalid_operations_get_an_error_message(http):
    with connected(http) as socket:
        socket.init()
        for query, code in (
            ("{ nope }", "invalid_document"),
            ("{", "invalid_document"),
            ("query($n: Int!) { who }", "invalid_document"),
            ('subscription { count(upto: "x") { number } }', "invalid_document"),
            ("subscription { secretCount(upto: 1) }", "unauthenticated"),
            ("{" + "who " * 3000 + "}", "limit_exceeded"),
        ):
            socket.subscribe(query)
            message = socket.next()
            assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", code)


def test_ping_pong_and_completing(http):
    with connected(http) as socket:
        socket.init()
        socket.send("ping", payload={"a": 1})
        assert socket.next() == {"type": "pong", "payload": {"a": 1}}
        socket.send("pong")
        socket.subscribe("subscription { count(upto: 1000, pause: 0.05) { number } }")
        assert socket.next()["payload"] == {"data": {"count": {"number": 0}}}
        socket.send("complete", id="1")
        socket.send("complete", id="unknown")
        socket.subscribe("{ openStreams }", "2")
        messages = [
            message for message in iter(socket.next, {"type": "complete", "id": "2"}) if message.get("id") == "2"
        ]
        assert messages == [{"id": "2", "type": "next", "payload": {"data": {"openStreams": 0}}}]
        socket.subscribe("{ who }", "1")  # the id can be reused
        assert socket.all_of("1") == [{"data": {"who": None}}]


def test_a_client_that_leaves_ends_its_streams(http):
    with connected(http) as socket:
        socket.init()
        socket.subscribe("subscription { count(upto: 1000, pause: 0.01) { number } }")
        socket.next()
    deadline = time.monotonic() + 5
    while http.post("/graphql", json={"query": "{ openStreams }"}).json()["data"]["openStreams"]:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["no json"], 4400),
        (["1"], 4400),
        (['{"type": 1}'], 4400),
        (['{"type": "start"}'], 4400),
        (['{"type": "connection_init", "payload": 1}'], 4400),
        (['{"type": "subscribe", "id": "1", "payload": {"query": "{ who }"}}'], 4401),
        (['{"type": "connection_init"}'] * 2, 4429),
        (['{"type": "connection_init"}', '{"type": "subscribe", "payload": {"query": "{ who }"}}'], 4400),
        (['{"type": "connection_init"}', '{"type": "subscribe", "id": "1", "payload": {}}'], 4400),
        (
            ['{"type": "connection_init"}']
            + [
                '{"type": "subscribe", "id": "1", "payload": {"query": "subscription { count(upto: 9, pause: 1) { number } }"}}'
            ]
            * 2,
            4409,
        ),
        (['{"type": "connection_init", "payload": {"x": "' + "y" * 2_000_000 + '"}}'], 1009),
    ],
    ids=lambda value: str(value)[:50],
)
def test_protocol_violations_close_the_connection(http, messages, code):
    with connected(http) as socket:
        for message in messages:
            socket.session.send_text(message)
        received = socket.session.receive()
        while received["type"] == "websocket.send":
            received = socket.session.receive()
        assert received["code"] == code


def test_a_client_that_does_not_initialize_is_closed(http, monkeypatch):
    monkeypatch.setattr("servey.graphql.sockets._INIT_SECONDS", 0.05)
    with connected(http) as socket:
        assert socket.closed_with() == 4408


def test_binary_frames_and_too_many_operations(monkeypatch):
    with client(served_app(graphql_max_operations=2)) as http:
        with connected(http) as socket:
            socket.session.send_bytes(b"{}")
            assert socket.closed_with() == 4400
        with connected(http) as socket:
            socket.init()
            for number in "123":
                socket.subscribe("subscription { count(upto: 9, pause: 1) { number } }", number)
            assert socket.closed_with() == 4429


def test_other_subprotocols_are_refused(http):
    for protocols in (["graphql-ws"], []):
        with connected(http, protocols=protocols) as socket:
            assert socket.closed_with() == 4406


def test_a_foreign_origin_is_refused_before_accepting(http):
    for origin, host in (
        ("https://evil.example", "testserver"),
        ("null", "testserver"),
        ("https://testserver.evil", "testserver"),
    ):
        with pytest.raises(WebSocketDisconnect):
            with connected(http, origin=origin, host=host):
                pass
    with connected(http, origin="http://testserver", host="testserver") as socket:
        socket.init()
    with client(served_app(cors_allowed_origins="https://a.example")) as other:
        with connected(other, origin="https://a.example") as socket:
            socket.init()


@pytest.mark.parametrize(
    ("host", "origin", "accepted"),
    [
        ("shop.example:443", "https://shop.example", True),
        ("shop.example:80", "http://shop.example", True),
        ("shop.example", "https://shop.example:443", True),
        ("SHOP.example", "https://shop.EXAMPLE", True),
        ("api.example", "https://Allowed.example", True),
        ("api.example", "https://allowed.example:443", True),
        ("shop.example:8443", "https://shop.example", False),
        ("shop.example:443", "http://shop.example", False),
        ("shop.example", "null", False),
        ("shop.example", "https://shop.example.evil", False),
        ("api.example", "http://allowed.example", False),
        ("api.example", "https://allowed.example:8443", False),
    ],
)
@pytest.mark.parametrize(
    ("path", "protocol"), [("/graphql", "graphql-transport-ws"), ("/subscription/ticks", "servey")]
)
def test_origins_are_judged_as_on_channels(host, origin, accepted, path, protocol):
    with client(served_app(cors_allowed_origins="https://allowed.example", allowed_hosts="*")) as http:
        headers = {"host": host, "origin": origin}
        with nullcontext() if accepted else pytest.raises(WebSocketDisconnect):
            with http.websocket_connect(path, subprotocols=[protocol], headers=headers):
                pass


def test_tokens_in_the_header_or_in_connection_init(app, http):
    token = f"Bearer {token_for(app, ADA)}"
    with connected(http, authorization=token) as socket:
        socket.init()
        socket.subscribe("{ who }")
        assert socket.all_of() == [{"data": {"who": "ada"}}]
    for payload in ({"Authorization": token}, {"authorization": token}, {"headers": {"Authorization": token}}):
        with connected(http) as socket:
            socket.init(**payload)
            socket.subscribe("{ who }")
            assert socket.all_of() == [{"data": {"who": "ada"}}]
    with connected(http) as socket:
        socket.init(Authorization="Bearer bad")
        socket.subscribe("{ who }")
        assert socket.all_of()[0]["errors"][0]["extensions"]["code"] == "unauthenticated"
    with connected(http) as socket:
        socket.init(Authorization=token)
        socket.subscribe("subscription { secretCount(upto: 2) }")
        assert socket.all_of()[0][0]["extensions"]["code"] == "forbidden"
    with connected(http) as socket:
        socket.init(Authorization=f"Bearer {token_for(app, BOSS)}")
        socket.subscribe("subscription { secretCount(upto: 2) }")
        assert socket.all_of() == [{"data": {"secretCount": 0}}, {"data": {"secretCount": 1}}]


def test_an_operation_that_ends_at_once_is_answered_also_by_eager_tasks(http):
    async def use(factory):
        asyncio.get_running_loop().set_task_factory(factory)

    http.portal.call(use, getattr(asyncio, "eager_task_factory", None))  # Python 3.12 and newer have it
    try:
        with connected(http) as socket:
            socket.init()
            socket.subscribe("{ nope }")
            assert socket.all_of()[0][0]["extensions"]["code"] == "invalid_document"
            socket.subscribe("{ who }")
            assert socket.all_of() == [{"data": {"who": None}}]
    finally:
        http.portal.call(use, None)
