"""One Lambda handler for every event: recognized and unknown events, HTTP details."""

import json
import logging
import time

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from servey import Settings, create_app
from servey.aws import build_handler
from servey.aws.events import UnknownEvent, kind_of
from tests.aws.dispatch_app import ACTIONS, LOG, LambdaContext, ask, direct
from tests.aws.gateways import GATEWAYS, Request, answer_of

APPSYNC = {"arguments": {}, "info": {"fieldName": "f", "parentTypeName": "Query"}, "source": None}

SOCKET = {
    "requestContext": {"connectionId": "c", "eventType": "CONNECT", "routeKey": "$connect"},
    "httpMethod": "GET",
    "path": "/",
}

RECORD = {"messageId": "1", "eventSource": "aws:sqs", "body": "{}"}


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_request_is_known(name):
    assert kind_of(GATEWAYS[name](Request("GET", "/"))) == "http"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (SOCKET, "websocket"),
        ({"Records": [RECORD, RECORD]}, "sqs"),
        (APPSYNC, "appsync"),
        ([APPSYNC, APPSYNC], "appsync_batch"),
        ({"servey": {"action": "a"}}, "direct"),
        ({"source": "serverless-plugin-warmup"}, "warmup"),
        ({"warmer": True, "concurrency": 3}, "warmup"),
        ({"warmer": True, "__WARMER_INVOCATION__": 1, "__WARMER_CORRELATIONID__": "a"}, "warmup"),
    ],
)
def test_an_event_is_known(event, kind):
    assert kind_of(event) == kind


UNKNOWN = [
    None,
    [],
    "text",
    3,
    {},
    {"action": "double"},
    {"Records": []},
    {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
    {"Records": [RECORD, {"eventSource": "aws:s3"}]},
    {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
    {"type": "REQUEST", "methodArn": "arn", "httpMethod": "GET", "path": "/", "requestContext": {"stage": "a"}},
    {"type": "REQUEST", "routeArn": "arn", "version": "2.0", "requestContext": {"http": {"method": "GET"}}},
    {"type": "TOKEN", "methodArn": "arn", "authorizationToken": "t"},
    {"httpMethod": "GET", "path": "/"},
    {"authorizationToken": "t", "requestContext": {"queryString": "q", "apiId": "a"}},
    [APPSYNC, {}],
    # A direct call is the call and nothing else.
    {"servey": {"action": "double"}, "httpMethod": "POST", "path": "/"},
    {"servey": {"action": "double"}, "requestContext": {"stage": "a"}},
    {"servey": {"action": "double"}, "source": "aws.events", "detail-type": "t", "detail": {}},
    {"source": "shop", "detail-type": "t", "detail": {"servey": {"action": "double", "params": {"number": 1}}}},
    {"servey": [{"action": "double"}]},
    {"body": '{"servey": {"action": "double"}}'},
    {"warmer": True, "action": "double"},
    {"warmer": "yes"},
    # Parts of the wrong type.
    {"httpMethod": "GET", "path": "/", "requestContext": {"stage": "a"}, "headers": ["a"]},
    {"httpMethod": "GET", "path": "/", "requestContext": {"stage": "a"}, "headers": {"a": {"b": 1}}},
    {"httpMethod": "GET", "path": "/", "requestContext": {"stage": "a"}, "multiValueHeaders": {"a": "b"}},
    {"httpMethod": "GET", "path": "/", "requestContext": {"stage": "a"}, "body": {"servey": {"action": "double"}}},
    {"httpMethod": "GET", "path": "/", "requestContext": {"stage": 3}},
    {"rawPath": 3, "requestContext": {"http": {"method": "GET"}}},
    {"rawPath": "/", "requestContext": {"http": {"method": ["GET"]}}},
    {"rawPath": "/", "cookies": "a=b", "requestContext": {"http": {"method": "GET"}}},
    {"rawPath": "/", "isBase64Encoded": "yes", "requestContext": {"http": {"method": "GET"}}},
    {"requestContext": {"connectionId": ["c"], "eventType": "CONNECT"}},
    {"requestContext": {"connectionId": "c", "eventType": "CONNECT"}, "headers": "Authorization"},
    {"requestContext": {"connectionId": "c", "eventType": "MESSAGE"}, "body": {"type": "Subscribe"}},
    {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
    {"Records": [{"messageId": "1", "eventSource": "aws:sqs", "attributes": "many", "body": "{}"}]},
    {"arguments": [1], "info": {"fieldName": "f", "parentTypeName": "Query"}},
    {"arguments": {}, "info": {"fieldName": ["f"], "parentTypeName": "Query"}},
]


@pytest.mark.parametrize("event", UNKNOWN, ids=lambda event: json.dumps(event)[:60])
def test_an_unknown_event_raises(handler, event):
    with pytest.raises(UnknownEvent, match="cannot handle"):
        handler(event, LambdaContext())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_whatever_comes_is_known_or_unknown(event):
    try:
        kind_of(event)
    except UnknownEvent:
        pass


@given(st.sampled_from(sorted(GATEWAYS)), st.data())
def test_a_request_with_parts_missing_gets_an_answer(name, data):
    handler = test_a_request_with_parts_missing_gets_an_answer.handler
    event = GATEWAYS[name](Request("POST", "/actions/double?number=1", (("a", "b"),), b"{}"))
    event = json.loads(json.dumps(event))
    for key in data.draw(st.sets(st.sampled_from(sorted(set(event) - {"requestContext", "httpMethod", "path"})))):
        if data.draw(st.booleans()):
            del event[key]
        else:
            event[key] = None
    assert 200 <= handler(event, None)["statusCode"] < 500


@pytest.fixture(scope="module", autouse=True)
def _shared_handler():
    shared = build_handler(create_app(actions=ACTIONS, settings=Settings(env="dev", allowed_hosts="*")))
    test_a_request_with_parts_missing_gets_an_answer.handler = shared
    yield
    shared.close()


def test_what_keeps_the_function_warm_starts_the_app_and_is_answered(handler):
    assert handler({"source": "serverless-plugin-warmup"}, LambdaContext()) is None
    assert LOG[-1] == "start"


def test_the_lifespan_runs_once(handler):
    assert LOG == []
    assert ask(handler, "/actions/double?number=1").body == b"2"
    assert ask(handler, "/actions/in-a-thread?number=1").body == b"-1"
    direct(handler, "double", number=1)
    assert LOG == ["start"]


def test_background_work_is_done_before_the_answer(handler):
    assert ask(handler, "/actions/with-background").body == b'"answered"'
    assert LOG == ["start", "background"]


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("target", ["/actions/numbers?upto=3", "/actions/endless"])
def test_a_stream_is_refused_at_once(handler, gateway, target):
    answer = ask(handler, target, gateway, LambdaContext())
    assert answer.status == 501
    assert json.loads(answer.body) == {
        "detail": "Streaming responses are not supported on AWS Lambda",
        "code": "not_implemented",
    }
    assert LOG.count("item") <= 1
    assert "x-request-id" in answer.headers


def test_a_stream_that_is_refused_is_closed(handler):
    ask(handler, "/actions/endless")
    assert LOG[-1] == "closed"


def test_an_answer_in_parts_is_put_together(handler):
    assert ask(handler, "/actions/page-by-page").body == b"one two"


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_answer_is_given_before_the_functions_time_is_over(handler, gateway):
    begun = time.monotonic()
    answer = ask(handler, "/actions/slow?seconds=20", gateway, LambdaContext(seconds=0.8))
    assert time.monotonic() - begun < 2
    assert (answer.status, json.loads(answer.body)["code"]) == (504, "timeout")


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_an_answer_that_is_too_large_is_an_error(handler, gateway, caplog):
    limit = (1 if gateway.startswith("load balancer") else 6) * 1024 * 1024
    assert ask(handler, f"/actions/large?size={limit - 2000}", gateway).status == 200
    answer = ask(handler, f"/actions/large?size={limit}", gateway)
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "internal"
    assert f"limit of {limit} bytes" in json.loads(answer.body)["detail"]
    assert answer.headers["content-type"] == "application/json"
    assert f"limit of {limit} bytes" in caplog.text


def test_a_body_that_is_no_base64_is_refused(handler):
    event = {**GATEWAYS["HTTP API"](Request("POST", "/actions/how")), "body": "a", "isBase64Encoded": True}
    assert answer_of(handler(event, None)).status == 400


def test_callers_of_a_load_balancer_cannot_choose_their_address(handler):
    request = Request("GET", "/actions/caller", headers=(("x-forwarded-for", "1.1.1.1, 203.0.113.9"),))
    assert json.loads(answer_of(handler(GATEWAYS["load balancer"](request), None)).body) == "203.0.113.9"


def test_an_address_below_a_stage_is_known(handler):
    event = GATEWAYS["REST API"](Request("GET", "/actions/double?number=4"))
    event["requestContext"]["path"] = "/dev/actions/double"
    assert answer_of(handler(event, None)).body == b"8"
    event = GATEWAYS["HTTP API"](Request("GET", "/dev/actions/double?number=4"))
    event["requestContext"]["stage"] = "dev"
    assert answer_of(handler(event, None)).body == b"8"
    event = GATEWAYS["REST API"](Request("GET", "/docs"))
    event["requestContext"]["path"] = "/dev/docs"
    assert b"/dev/openapi.json" in answer_of(handler(event, None)).body


def test_neither_headers_nor_bodies_are_logged(handler, caplog):
    caplog.set_level(logging.DEBUG)
    request = Request("POST", "/actions/how", (("authorization", "Bearer s3cret"), ("content-type", "a/b")), b"s3cret")
    answer_of(handler(GATEWAYS["REST API"](request), None))
    assert "s3cret" not in caplog.text


def test_a_host_answers_http():
    host = FastAPI()
    app = create_app(actions=ACTIONS, settings=Settings(env="dev", allowed_hosts="*"))
    app.install(host, prefix="/ours")

    @host.get("/mine")
    def mine() -> str:
        return "the host's"

    handler = build_handler(app, host=host)
    assert ask(handler, "/mine").body == b'"the host\'s"'
    assert ask(handler, "/ours/actions/double?number=2").body == b"4"
    assert direct(handler, "double", number=3) == 6
    handler.close()
