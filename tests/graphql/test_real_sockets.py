"""graphql-transport-ws on a real server: the npm client graphql-ws, and a server that stops."""

import json

import pytest

from servey.testing import token_for
from tests.graphql.graphql_client import SECRET
from tests.graphql.npm import installed, run_node
from tests.graphql.served import app as served_app
from tests.graphql.socket_client import ADA, PROTOCOL
from tests.serving import serve

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
