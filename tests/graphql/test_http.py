"""GraphQL over HTTP: methods, media types, batches, server-sent events."""

import json
import subprocess
import sys

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.graphql.graphql_client import app_of, graphql_client
from tests.graphql.http_app import ACTIONS

RESPONSE_JSON = "application/graphql-response+json"


def test_queries_by_get(ask):
    answer = ask.http.get(
        "/graphql", params={"query": "query($v: Int!) { node(value: $v) { value } }", "variables": '{"v": 4}'}
    )
    assert (answer.status_code, answer.json()) == (200, {"data": {"node": {"value": 4}}})
    assert answer.headers["content-type"] == "application/json"
    assert ask.http.get("/graphql").status_code == 400
    for bad in ({"variables": "{"}, {"extensions": "["}, {"variables": "[1]"}):
        answer = ask.http.get("/graphql", params={"query": "{ node { value } }"} | bad)
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (400, "invalid_params")


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
def test_media_types_of_cross_site_forms_are_refused(ask, media_type):
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
        ("{", 400),
        ("", 400),
        ("  ", 400),
        (b"\xff", 400),
        ('{"query": NaN}', 400),
        ("[" * 100_000, 400),
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
    if status == 400:
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


JSON = "application/json"
SSE = "text/event-stream"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("text/html", JSON),
        (f"{JSON};q=0.5, {SSE}", SSE),
        (f"{SSE};q=0.5, {JSON}", JSON),
        (f"{SSE};q=0, */*;q=0.1", JSON),
        (f"{SSE};q=0", JSON),
        (f"{SSE};q=x, {RESPONSE_JSON};q=0.1", RESPONSE_JSON),
        (f"{JSON};q=0.8, {RESPONSE_JSON};q=0.9", RESPONSE_JSON),
        (f"{RESPONSE_JSON};charset=utf-8;q=0.9, {JSON};q=0.8", RESPONSE_JSON),
        (f"{RESPONSE_JSON}, {JSON}", RESPONSE_JSON),
        (f"{JSON}, {SSE}", JSON),
        (f"{SSE}, */*", SSE),
        (SSE.upper(), SSE),
        ("application/*;q=0.2, text/event-stream;q=0.1", JSON),
    ],
)
def test_weights_in_accept_count(ask, accept, expected):
    headers = {"accept": accept} if accept is not None else {}
    if accept is None:
        ask.http.headers.pop("accept", None)
    answer = ask.http.post("/graphql", json={"query": "{ node { value } }"}, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == expected


@pytest.mark.parametrize(
    "body",
    ["{", "", "{}", "[]", '{"query": 1}', '[{"query": "{a}"}, {"query": "{a}"}]', '{"query": "mutation { nope"}'],
)
@pytest.mark.parametrize("accept", [JSON, f"{JSON}, {SSE}", f"{SSE};q=0.1, {RESPONSE_JSON}", "*/*", SSE])
def test_an_error_is_an_event_stream_only_on_request(ask, body, accept):
    answer = ask.http.post("/graphql", content=body, headers={"content-type": JSON, "accept": accept})
    if answer.headers["content-type"].startswith(SSE):
        assert accept == SSE
        assert answer.text.startswith("event: next\ndata: {")
    else:
        assert answer.json()["errors"][0]["message"]


def test_event_streams_are_not_buffered_by_proxies(ask):
    for query in ("subscription { count(upto: 1) { value } }", "{ node { value } }", "{ nope }"):
        answer = ask.http.post("/graphql", json={"query": query}, headers={"accept": SSE})
        assert answer.headers["x-accel-buffering"] == "no"
    assert ask.http.get("/actions/count?upto=1", headers={"accept": SSE}).headers["x-accel-buffering"] == "no"


def test_big_bodies_are_refused(ask):
    answer = ask.http.post("/graphql", json={"query": "{ node { value } }" + " " * (1 << 20)})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_request_id_and_cors(ask):
    answer = ask.http.post("/graphql", json={"query": "{ node { value } }"}, headers={"x-request-id": "r1"})
    assert answer.headers["x-request-id"] == "r1"
    with graphql_client(*ACTIONS, cors_allowed_origins="https://a.example") as asker:
        answer = asker.http.post(
            "/graphql", content="{", headers={"origin": "https://a.example", "content-type": "application/json"}
        )
        assert answer.headers["access-control-allow-origin"] == "https://a.example"


def test_another_path_installed_and_mounted():
    with graphql_client(*ACTIONS, graphql_path="/api/query") as ask:
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
    with graphql_client(*ACTIONS) as ask:
        assert ask.data(query) == {"__schema": {"queryType": {"name": "Query"}}}
        assert "Did you mean" in ask.error("{ nodee { value } }")["message"]
        assert ask.http.get("/graphiql").status_code == 200
    with graphql_client(*ACTIONS, env="prod") as ask:
        error = ask.error(query)
        assert (error["code"], "introspection" in error["message"].lower()) == ("invalid_document", True)
        assert "Did you mean" not in ask.error("{ nodee { value } }")["message"]
        assert ask.data("{ node { __typename } }") == {"node": {"__typename": "Node"}}
        assert ask.http.get("/graphiql").status_code == 404
    with graphql_client(*ACTIONS, env="prod", docs=True) as ask:
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
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.stdout == 'False False\n{"data":{"hello":"x"}}\nTrue\n', done.stderr


def test_batched_operations_need_the_setting():
    with graphql_client(*ACTIONS, graphql_max_batch=3) as ask:
        body = [{"query": "{ node { value } }"}, {"query": "{ nope }"}, {"query": "mutation { change(value: 2) }"}]
        answers = ask.http.post("/graphql", json=body).json()
        assert (answers[0], answers[2]) == ({"data": {"node": {"value": 0}}}, {"data": {"change": 2}})
        assert answers[1]["errors"][0]["extensions"]["code"] == "invalid_document"


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
