"""graphql-transport-ws: every message type, subscriptions to streams and channels, and the npm client graphql-ws."""

import json
import time
from contextlib import contextmanager, nullcontext

import pytest
from starlette.websockets import WebSocketDisconnect

from servey import Authorization, ConfigError, websocket_event_channel
from servey.testing import client, token_for
from tests.graphql.graphql_client import SECRET, app_of
from tests.graphql.npm import installed, run_node
from tests.graphql.served import app as served_app
from tests.graphql.served import count
from tests.serving import serve

PROTOCOL = "graphql-transport-ws"
ADA = Authorization("ada", frozenset({"read"}))
BOSS = Authorization("boss", frozenset({"root"}))


class Socket:
    """One connection, with the messages of the protocol."""

    def __init__(self, session) -> None:
        self.session = session

    def send(self, type_: str, **message) -> None:
        self.session.send_text(json.dumps({"type": type_} | message))

    def next(self) -> dict:
        return json.loads(self.session.receive_text())

    def init(self, **payload) -> None:
        self.send("connection_init", payload=payload)
        assert self.next() == {"type": "connection_ack"}

    def subscribe(self, query: str, number: str = "1", **variables) -> None:
        self.send("subscribe", id=number, payload={"query": query, "variables": variables})

    def all_of(self, number: str = "1") -> list[dict]:
        """Return all payloads of an operation."""
        found = []
        while True:
            message = self.next()
            assert message["id"] == number
            if message["type"] == "complete":
                return found
            found.append(message["payload"])
            if message["type"] == "error":
                return found

    def closed_with(self) -> int:
        with pytest.raises(WebSocketDisconnect) as closed:
            self.session.receive_text()
        return closed.value.code


@contextmanager
def connected(http, *, protocols=(PROTOCOL,), **headers):
    with http.websocket_connect("/graphql", subprotocols=list(protocols), headers=headers) as session:
        yield Socket(session)


@pytest.fixture
def app():
    return served_app()


@pytest.fixture
def http(app):
    with client(app) as made:
        yield made


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


# ------------------------------------------------------------------------------------------------------- channels


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


# ------------------------------------------------------------------------------------------ the npm client


CLIENT = """
const { createClient } = require("graphql-ws");
const WebSocket = require("ws");
const [url, token] = process.argv.slice(2);
const client = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0, connectionParams: { Authorization: `Bearer ${token}` } });
const run = (query, variables) => new Promise((resolve) => {
  const found = [];
  client.subscribe({ query, variables }, {
    next: (value) => found.push(value),
    error: (error) => resolve({ found, error }),
    complete: () => resolve({ found }),
  });
});
(async () => {
  const out = {};
  out.query = await run("{ who }");
  out.stream = await run("subscription($n: Int!) { count(upto: $n) { number twice } }", { n: 3 });
  out.both = await Promise.all([run("subscription { count(upto: 50) { number } }"), run("subscription { count(upto: 60) { number } }")]);
  out.bad = await run("{ nope }");
  let seen = 0;
  await new Promise((resolve) => {
    const stop = client.subscribe({ query: "subscription { count(upto: 1000, pause: 0.01) { number } }" }, {
      next: () => { if (++seen === 3) stop(); }, error: resolve, complete: resolve,
    });
  });
  out.seen = seen;
  const channel = client.iterate({ query: "subscription { ticks { number } }" });
  const first = channel.next();
  const again = setInterval(() => run("mutation { tick(number: 5) }"), 100);
  out.event = (await first).value;
  clearInterval(again);
  await channel.return();
  console.log(JSON.stringify(out));
  await client.dispose();
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def npm_client(tmp_path_factory):
    """Return a folder with the npm packages graphql-ws, graphql and ws."""
    return installed(tmp_path_factory, "graphql-ws-client", "graphql-ws@6.0.6", "graphql@16.11.0", "ws@8.18.3")


@pytest.mark.timeout(180)
def test_the_npm_client_graphql_ws_with_a_real_server(npm_client):
    with serve("tests.graphql.served:app", factory=True, JWT_SECRET_KEY=SECRET) as server:
        token = token_for(served_app(), ADA)
        done = run_node(npm_client, CLIENT, f"ws://127.0.0.1:{server.port}/graphql", token)
        assert done.returncode == 0, done.stderr + server.log.read_text(encoding="utf-8")
        found = json.loads(done.stdout)
    assert found["query"] == {"found": [{"data": {"who": "ada"}}]}
    assert [each["data"]["count"]["twice"] for each in found["stream"]["found"]] == [0, 2, 4]
    assert [len(each["found"]) for each in found["both"]] == [50, 60]
    assert found["bad"]["error"][0]["extensions"]["code"] == "invalid_document"
    assert found["seen"] == 3
    assert found["event"] == {"data": {"ticks": {"number": 5}}}


def test_a_stopping_server_closes_with_1012():
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    with serve("tests.graphql.served:app", factory=True, JWT_SECRET_KEY=SECRET) as server:
        with connect(f"ws://127.0.0.1:{server.port}/graphql", subprotocols=[Subprotocol(PROTOCOL)]) as session:
            session.send('{"type": "connection_init"}')
            session.recv()
            session.send(
                json.dumps(
                    {
                        "type": "subscribe",
                        "id": "1",
                        "payload": {"query": "subscription { count(upto: 9999, pause: 0.01) { number } }"},
                    }
                )
            )
            session.recv()
            assert server.end() < 5
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    session.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
