"""GraphQL over HTTP: what is taken, how it is answered, and what is refused."""

import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from servey import WEB_GET, WEB_POST, action
from servey.graphql.documents import BadDocument, Documents
from servey.graphql.fields import fields_of
from servey.graphql.mount import engine_of
from servey.graphql.operation import LimitExceeded
from tests.graphql.asking import app_of, asking

RESPONSE_JSON = "application/graphql-response+json"


@dataclass
class Node:
    value: int

    @action
    async def next(self) -> "Node":
        return Node(self.value + 1)

    @action
    async def children(self, count: int = 10) -> list["Node"]:
        return [Node(number) for number in range(count)]


@action(triggers=WEB_GET)
async def node(value: int = 0) -> Node | None:
    return Node(value)


@action(triggers=WEB_GET)
async def nodes(count: int) -> list[Node] | None:
    return [Node(number) for number in range(count)]


@action(triggers=WEB_POST)
async def change(value: int) -> int:
    return value


@action(triggers=WEB_GET)
async def count(upto: int) -> AsyncIterator[Node]:
    for number in range(upto):
        yield Node(number)
    if upto == 3:
        raise RuntimeError("secret")


ACTIONS = (node, nodes, change, count)


@pytest.fixture
def ask():
    with asking(*ACTIONS) as asker:
        yield asker


# ------------------------------------------------------------------------------------------------------ requests


def test_queries_by_get(ask):
    answer = ask.http.get(
        "/graphql", params={"query": "query($v: Int!) { node(value: $v) { value } }", "variables": '{"v": 4}'}
    )
    assert (answer.status_code, answer.json()) == (200, {"data": {"node": {"value": 4}}})
    assert answer.headers["content-type"] == "application/json"
    assert ask.http.get("/graphql").status_code == 400
    assert ask.http.get("/graphql", params={"query": "{ node { value } }", "variables": "{"}).status_code == 422


def test_no_mutations_by_get(ask):
    answer = ask.http.get("/graphql", params={"query": "mutation { change(value: 1) }"})
    assert (answer.status_code, answer.json()["code"], answer.headers["allow"]) == (405, "method_not_allowed", "POST")
    named = "query a { node { value } } mutation b { change(value: 1) }"
    assert ask.http.get("/graphql", params={"query": named, "operationName": "b"}).status_code == 405
    assert ask.http.get("/graphql", params={"query": named, "operationName": "a"}).status_code == 200
    streamed = ask.http.get(
        "/graphql", params={"query": "mutation { change(value: 1) }"}, headers={"accept": "text/event-stream"}
    )
    assert streamed.status_code == 405


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_what_another_sites_page_can_send_is_refused(ask, media_type):
    body = json.dumps({"query": "mutation { change(value: 1) }"})
    answer = ask.http.post("/graphql", content=body, headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods(ask, method):
    answer = ask.http.request(method, "/graphql", json={"query": "{ node { value } }"})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 422),
        ("", 422),
        ('{"query": NaN}', 422),
        ("[" * 100_000, 422),
        ("1", 400),
        ("null", 400),
        ("{}", 400),
        ('{"query": ""}', 400),
        ('{"query": 1}', 400),
        ('{"query": "{ node { value } }", "variables": [1]}', 400),
        ('{"query": "{ node { value } }", "variables": "x"}', 400),
        ('{"query": "{ node { value } }", "operationName": 1}', 400),
        ('{"query": "{ node { value } }", "extensions": 1}', 400),
        ("[]", 400),
        ('{"query": "{ node { value } }", "variables": null, "operationName": null, "extensions": {}}', 200),
        ('[{"query": "{ node { value } }"}]', 200),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bodies(ask, body, status):
    answer = ask.http.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["detail"][0]["type"] == "json_invalid"
    elif status == 400:
        assert answer.json()["errors"][0]["extensions"]["code"] == "invalid_params"


def test_the_accepted_media_type_decides_the_status(ask):
    def status(query, accept, **body):
        answer = ask.http.post("/graphql", json={"query": query} | body, headers={"accept": accept})
        assert answer.headers["content-type"].partition(";")[0] == accept.partition(",")[0].partition(";")[0]
        return answer.status_code

    assert status("{ nope }", "application/json") == 200
    assert status("{ nope }", RESPONSE_JSON) == 400
    assert status("{", RESPONSE_JSON) == 400
    assert status("query($v: Int!) { node(value: $v) { value } }", RESPONSE_JSON) == 400
    assert status("{ node { value } }", f"{RESPONSE_JSON}; charset=utf-8, application/json;q=0.9") == 200
    assert status("query a { node { value } } query b { node { value } }", RESPONSE_JSON) == 400
    assert status("query a { node { value } } query b { node { value } }", RESPONSE_JSON, operationName="b") == 200
    assert status("query a { node { value } }", RESPONSE_JSON, operationName="c") == 400


def test_big_bodies_are_refused(ask):
    answer = ask.http.post("/graphql", json={"query": "{ node { value } }" + " " * (1 << 20)})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_request_id_and_cors(ask):
    answer = ask.http.post("/graphql", json={"query": "{ node { value } }"}, headers={"x-request-id": "r1"})
    assert answer.headers["x-request-id"] == "r1"
    with asking(*ACTIONS, cors_allowed_origins="https://a.example") as asker:
        answer = asker.http.post(
            "/graphql", content="{", headers={"origin": "https://a.example", "content-type": "application/json"}
        )
        assert answer.headers["access-control-allow-origin"] == "https://a.example"


def test_another_path_installed_and_mounted():
    with asking(*ACTIONS, graphql_path="/api/query") as ask:
        assert ask.http.post("/api/query", json={"query": "{ node { value } }"}).status_code == 200
        assert ask.http.post("/graphql", json={"query": "{ node { value } }"}).status_code == 404
    host = FastAPI()
    app_of(*ACTIONS).install(host, prefix="/ours")
    with TestClient(host) as http:
        answer = http.post("/ours/graphql", json={"query": "{ node { value } }"})
        assert answer.json() == {"data": {"node": {"value": 0}}}
        assert "x-request-id" in answer.headers
        assert "/ours/graphql" not in http.get("/openapi.json").json()["paths"]
        assert http.get("/ours/graphiql").status_code == 200
    outer, inner = FastAPI(), app_of(*ACTIONS)

    async def lifespan(app):
        async with inner.running():
            yield

    from contextlib import asynccontextmanager

    outer = FastAPI(lifespan=asynccontextmanager(lifespan))
    outer.mount("/servey", inner)
    with TestClient(outer) as http:
        assert http.post("/servey/graphql", json={"query": "{ node { value } }"}).status_code == 200


def test_introspection_follows_the_docs_setting():
    query = "{ __schema { queryType { name } } }"
    with asking(*ACTIONS) as ask:
        assert ask.data(query) == {"__schema": {"queryType": {"name": "Query"}}}
        assert "Did you mean" in ask.error("{ nodee { value } }")["message"]
        assert ask.http.get("/graphiql").status_code == 200
    with asking(*ACTIONS, env="prod") as ask:
        error = ask.error(query)
        assert (error["code"], "introspection" in error["message"].lower()) == ("invalid_document", True)
        assert "Did you mean" not in ask.error("{ nodee { value } }")["message"]
        assert ask.data("{ node { __typename } }") == {"node": {"__typename": "Node"}}
        assert ask.http.get("/graphiql").status_code == 404
    with asking(*ACTIONS, env="prod", docs=True) as ask:
        assert ask.data(query) == {"__schema": {"queryType": {"name": "Query"}}}


def test_strawberry_is_imported_with_the_first_request_only():
    program = (
        "import sys\nfrom servey import WEB_GET, Settings, action, create_app\nfrom servey.testing import client\n"
        "@action(triggers=WEB_GET)\ndef hello(name: str) -> str:\n    return name\n"
        "app = create_app(actions=[hello], settings=Settings(env='dev'))\n"
        "with client(app) as http:\n"
        "    http.get('/actions/hello?name=x')\n"
        "    print('strawberry' in sys.modules, 'graphql' in sys.modules)\n"
        "    print(http.post('/graphql', json={'query': '{ hello(name: \"x\") }'}).text)\n"
        "    print('strawberry' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == 'False False\n{"data":{"hello":"x"}}\nTrue\n', done.stderr


def test_a_batch_of_operations_only_where_it_is_allowed():
    with asking(*ACTIONS, graphql_max_batch=3) as ask:
        body = [{"query": "{ node { value } }"}, {"query": "{ nope }"}, {"query": "mutation { change(value: 2) }"}]
        answers = ask.http.post("/graphql", json=body).json()
        assert (answers[0], answers[2]) == ({"data": {"node": {"value": 0}}}, {"data": {"change": 2}})
        assert answers[1]["errors"][0]["extensions"]["code"] == "invalid_document"


# -------------------------------------------------------------------------------------------- server-sent events


def test_subscriptions_as_server_sent_events(ask):
    def events(query):
        answer = ask.http.post("/graphql", json={"query": query}, headers={"accept": "text/event-stream"})
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = [block.split("\n") for block in answer.text.strip("\n").split("\n\n")]
        return [(block[0].removeprefix("event: "), block[1].removeprefix("data:").strip()) for block in blocks]

    shown = events("subscription { count(upto: 2) { value next { value } } }")
    assert [name for name, _ in shown] == ["next", "next", "complete"]
    assert json.loads(shown[1][1]) == {"data": {"count": {"value": 1, "next": {"value": 2}}}}
    failed = events("subscription { count(upto: 3) { value } }")
    assert [name for name, _ in failed] == ["next", "next", "next", "next", "complete"]
    assert json.loads(failed[3][1])["errors"][0]["extensions"]["code"] == "internal"
    assert "secret" not in failed[3][1]
    assert [name for name, _ in events("{ node { value } }")] == ["next", "complete"]
    assert json.loads(events("{ nope }")[0][1])["errors"][0]["extensions"]["code"] == "invalid_document"
    assert json.loads(events('subscription { count(upto: "x") { value } }')[0][1])["errors"]


# -------------------------------------------------------------------------------------------------------- limits


def deep(levels: int) -> str:
    return "{ node " + "{ next " * (levels - 2) + "{ value }" + " }" * (levels - 2) + " }"


def doubled(levels: int) -> str:
    fragments = [
        f"fragment F{number} on Node {{ next {{ ...F{number + 1} }} n: next {{ ...F{number + 1} }} }}"
        for number in range(levels)
    ]
    return "{ node { ...F0 } } " + " ".join(fragments) + f" fragment F{levels} on Node {{ value }}"


BOMBS = {
    "depth of 16": deep(16),
    "depth of 1,000": deep(1000),
    "lists 900 deep": "{ node(value: " + "[" * 900 + "]" * 900 + ") { value } }",
    "10,000 aliases": "{" + " ".join(f"a{number}: node {{ value }}" for number in range(10_000)) + "}",
    "31 aliases": "{" + " ".join(f"a{number}: node {{ value }}" for number in range(31)) + "}",
    "one field 300 times": "{" + "node { value } " * 300 + "}",
    "one field in many fragments": "{" + "... on Query { node { value } } " * 200 + "}",
    "1 MB of tokens": "{" + "node " * 200_000 + "}",
    "5,000 directives": "{ node " + "@skip(if: false) " * 5000 + "{ value } }",
    "1,000 comments": "# x\n" * 3000 + "{ node { value } }",
    "a doubling of fragments": doubled(18),
}
INVALID = {
    "a circle of fragments": "{ node { ...A } } fragment A on Node { next { ...B } } fragment B on Node { next { ...A } }",
    "200 directives": "{ node " + "@skip(if: false) " * 200 + "{ value } }",
    "a spread of nothing": "{ ...A }",
    "an empty document": "fragment A on Node { value }",
    "a variable that is not there": "{ node(value: $x) { value } }",
}


@pytest.mark.parametrize("name", [*BOMBS, *INVALID])
def test_bombs_are_refused(ask, name):
    ask.data(deep(15))
    answer = ask((BOMBS | INVALID)[name])
    assert ask.last.status_code == 200
    assert answer["errors"][0]["extensions"]["code"] == ("limit_exceeded" if name in BOMBS else "invalid_document")
    assert "data" not in answer


def test_a_bomb_costs_no_more_than_some_ordinary_documents():
    documents = documents_of(*ACTIONS)

    def calls(text: str) -> int:
        count = 0

        def note(frame, event, argument):
            nonlocal count
            count += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            documents.get(text)
        except (LimitExceeded, BadDocument):
            pass
        finally:
            sys.setprofile(before)
        return count

    ordinary = calls("query($v: Int!) { node(value: $v) { value next { value next { value children { value } } } } }")
    costs = {name: round(calls(text) / ordinary, 1) for name, text in (BOMBS | INVALID).items()}
    assert {name: cost for name, cost in costs.items() if cost > 25} == {}


def test_a_batch_of_a_thousand_operations(ask):
    answer = ask.http.post("/graphql", json=[{"query": "{ node { value } }"}] * 1000)
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["extensions"]["code"] == "limit_exceeded"


def test_the_limits_can_be_set():
    with asking(
        *ACTIONS, graphql_max_depth=3, graphql_max_aliases=1, graphql_max_tokens=50, graphql_max_nodes=5
    ) as ask:
        ask.data("{ node { next { value } } }")
        assert ask.error("{ node { next { next { value } } } }")["code"] == "limit_exceeded"
        ask.data("{ a: node { value } }")
        assert ask.error("{ a: node { value } b: node { value } }")["code"] == "limit_exceeded"
        assert ask.error("{ node { value } }" + " #\n" * 50)["code"] == "limit_exceeded"
        ask.data("{ nodes(count: 5) { value } }")
        assert ask.error("{ nodes(count: 6) { value } }")["code"] == "limit_exceeded"


def test_introspection_does_not_count_towards_depth(ask):
    from graphql import get_introspection_query

    ask.data(get_introspection_query(descriptions=True))


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("{ nodes(count: 10001) { value } }", 10_000),
        ("{ nodes(count: 10001) { value next { value } } }", 10_000),
        ("{ nodes(count: 20) { children(count: 50) { value } } }", 1000),
        ("{ nodes(count: 10) { children { children { children { children { value } } } } } }", 1000),
    ],
)
def test_the_budget_of_nodes_ends_an_operation(query, limit):
    with asking(*ACTIONS, graphql_max_nodes=limit) as ask:
        answer = ask(query)
    assert ask.last.status_code == 200
    assert answer == {
        "data": None,
        "errors": [
            {
                "message": f"The answer has more than {limit} objects; ask for fewer",
                "extensions": {"code": "limit_exceeded"},
            }
        ],
    }


def test_a_budget_is_the_operations_own(ask):
    for _ in range(3):
        assert len(ask.data("{ nodes(count: 9000) { value } }")["nodes"]) == 9000


@pytest.mark.parametrize(
    "variables",
    [{"v": "x"}, {"v": None}, {}, {"v": {"a": 1}}, {"v": [1]}, {"v": 1.5}, {"v": 2**70}, {"v": True}, {"v": [[[[1]]]]}],
    ids=str,
)
def test_variables_of_the_wrong_shape(ask, variables):
    error = ask.error("query($v: Int!) { node(value: $v) { value } }", variables)
    assert (ask.last.status_code, error["code"]) == (200, "invalid_params")
    assert "$v" in error["message"]


def documents_of(*actions) -> Documents:
    runtime = app_of(*actions).runtime
    return Documents(engine_of(runtime, fields_of(runtime)).schema, runtime.settings)


def test_memory_stays_flat(monkeypatch):
    """Different documents, good and bad ones, leave no more behind than the cache may hold."""
    monkeypatch.setattr("servey.graphql.documents._MAX_KEPT", 30)
    documents = documents_of(*ACTIONS)

    def some(first: int) -> None:
        for number in range(first, first + 40):
            documents.get(f"{{ node(value: {number}) {{ value }} }}")
            with pytest.raises(BadDocument):
                documents.get(f"{{ nope{number} }}")

    some(0)
    tracemalloc.start()
    try:
        some(1000)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        some(2000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()


def test_only_valid_documents_are_kept_within_bounds(monkeypatch):
    monkeypatch.setattr("servey.graphql.documents._MAX_KEPT", 20)
    documents = documents_of(*ACTIONS)
    kept = documents.get("{ node { value } }")
    assert documents.get("{ node { value } }") is kept
    with pytest.raises(BadDocument):
        documents.get("{ nope }")
    for number in range(20):
        documents.get(f"{{ node(value: {number}) {{ value }} }}")
    assert documents.get("{ node { value } }") is not kept
    padded = documents.get("{ node { value } }" + " " * 3_000_000)
    documents.get("{ node { value } } " + " " * 3_000_000)
    assert documents.get("{ node { value } }" + " " * 3_000_000) is not padded
