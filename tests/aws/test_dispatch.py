"""One Lambda handler for every event: recognized and unknown events, HTTP details, direct calls."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, FastAPI, Header
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response, StreamingResponse

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    ConfigError,
    Context,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
)
from servey.aws import build_handler
from servey.aws.calls import CallFailed
from servey.aws.events import UnknownEvent, kind_of
from tests.aws.gateways import GATEWAYS, Request, answer_of

LOG: list[str] = []


@action(triggers=WEB_GET)
async def double(number: int) -> int:
    return 2 * number


@action(triggers=WEB_GET)
def in_a_thread(number: int) -> int:
    return -number


@action(triggers=WEB_GET)
async def slow(seconds: float) -> None:
    await asyncio.sleep(seconds)


@action(triggers=WEB_GET)
async def large(size: int) -> str:
    return "x" * size


@action(triggers=WEB_GET)
async def numbers(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


@action(triggers=WEB_GET)
async def endless() -> AsyncIterator[int]:
    try:
        while True:
            LOG.append("item")
            yield 1
    finally:
        LOG.append("closed")


@action(triggers=WEB_GET)
async def page_by_page() -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    return StreamingResponse(parts(), media_type="text/plain")


@action(triggers=WEB_GET)
async def with_background(background: BackgroundTasks) -> str:
    background.add_task(LOG.append, "background")
    return "answered"


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def how(context: Context, authorization: Authorization | None) -> list[Any]:
    return [context.via, context.trusted, authorization, context.request_id]


@action(triggers=WEB_GET)
async def needs_header(x_name: Annotated[str, Header()]) -> str:
    return x_name


@action(triggers=WEB_GET)
async def whole() -> Response:
    return Response("whole")


@action(triggers=WEB_GET)
async def fail(how: str) -> None:
    raise RuntimeError("what went wrong")


ACTIONS = [
    double, in_a_thread, slow, large, numbers, endless, page_by_page, with_background, how, needs_header, whole, fail,
]  # fmt: skip


class LambdaContext:
    aws_request_id = "lambda-request-1"

    def __init__(self, seconds: float = 29) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


@asynccontextmanager
async def noted_lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
    LOG.append("start")
    yield {"made": "at start"}
    LOG.append("stop")


@pytest.fixture
def handler():
    LOG.clear()
    handler = build_handler(
        create_app(actions=ACTIONS, settings=Settings(env="dev", allowed_hosts="*"), lifespan=noted_lifespan)
    )
    yield handler
    handler.close()


def ask(handler: Any, target: str, gateway: str = "HTTP API", context: Any = None) -> Any:
    return answer_of(handler(GATEWAYS[gateway](Request("GET", target)), context))


def direct(handler: Any, action: Any, **params: Any) -> Any:
    return handler({"servey": {"action": action, "params": params}}, LambdaContext())


# ---------------------------------------------------------------------------------------------------------- shapes

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


# -------------------------------------------------------------------------------------------------------- requests


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
    limit = 6 * 1024 * 1024
    assert ask(handler, f"/actions/large?size={limit - 2000}", gateway).status == 200
    answer = ask(handler, f"/actions/large?size={limit}", gateway)
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "internal"
    assert "6291456 bytes" in json.loads(answer.body)["detail"]
    assert answer.headers["content-type"] == "application/json"
    assert "limit of 6291456 bytes" in caplog.text


def test_a_body_that_is_no_base64_is_refused(handler):
    event = {**GATEWAYS["HTTP API"](Request("POST", "/actions/how")), "body": "a", "isBase64Encoded": True}
    assert answer_of(handler(event, None)).status == 400


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


# --------------------------------------------------------------------------------------------------- direct calls


def test_a_direct_call_is_trusted(handler):
    assert direct(handler, "how") == ["lambda", True, None, "lambda-request-1"]
    assert direct(handler, "in_a_thread", number=2) == -2
    assert direct(handler, "numbers", upto=3) == [0, 1, 2]


def test_a_request_can_not_make_a_direct_call(handler):
    body = json.dumps({"servey": {"action": "how", "params": {}}}).encode()
    request = Request("POST", "/actions/how", (("content-type", "application/json"),), body)
    for event_of in GATEWAYS.values():
        assert answer_of(handler(event_of(request), None)).status == 401


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"action": "nothing"}, "there is no action 'nothing'"),
        ({}, "a direct call is"),
        ({"action": "double", "params": [1]}, "a direct call is"),
        ({"action": "double"}, r"number: Field required \(invalid_params\)"),
        ({"action": "double", "params": {"number": "x"}}, r"\(invalid_params\)"),
        ({"action": "needs_header", "params": {}}, "only be called over HTTP"),
        ({"action": "whole"}, "returns an HTTP response"),
    ],
)
def test_a_direct_call_that_fails_raises(handler, event, said):
    with pytest.raises(CallFailed, match=said):
        handler({"servey": event}, LambdaContext())


def test_what_no_one_expected_is_raised_as_it_is(handler):
    with pytest.raises(RuntimeError, match="what went wrong"):
        direct(handler, "fail", how="")


def test_a_function_of_one_action_takes_plain_parameters():
    app = create_app(actions=ACTIONS, settings=Settings(env="dev", allowed_hosts="*", aws_action="double"))
    handler = build_handler(app)
    assert handler({"number": 4}, LambdaContext()) == 8
    assert ask(handler, "/actions/double?number=4").body == b"8"
    with pytest.raises(CallFailed, match="invalid_params"):
        handler({}, LambdaContext())
    with pytest.raises(UnknownEvent):
        handler([1], LambdaContext())
    handler.close()


# Of each service an event whose content a stranger may have written.
FOREIGN = [
    {"number": 4, "httpMethod": "POST", "path": "/"},
    {"number": 4, "requestContext": {"stage": "prod"}},
    {"number": 4, "rawPath": "/", "headers": {}},
    {"number": 4, "source": "shop", "detail-type": "Order", "detail": {"number": 4}},
    {"number": 4, "Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "4"}}}]},
    {"number": 4, "Records": [{"EventSource": "aws:sns", "Sns": {"Message": "4"}}]},
    {"number": 4, "Records": [{"eventSource": "aws:sqs", "body": "4"}]},
    {"number": 4, "awslogs": {"data": ""}},
    {"number": 4, "triggerSource": "PreSignUp_SignUp", "request": {}},
    {"number": 4, "type": "TOKEN", "authorizationToken": "t", "methodArn": "a"},
    {"number": 4, "servey": "double"},
]


@pytest.mark.parametrize("event", FOREIGN, ids=lambda event: json.dumps(event)[:60])
def test_the_event_of_a_service_is_never_taken_for_parameters(event):
    handler = build_handler(
        create_app(actions=ACTIONS, settings=Settings(env="dev", allowed_hosts="*", aws_action="double"))
    )
    with pytest.raises(UnknownEvent):
        handler(event, LambdaContext())
    handler.close()


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_no_client_of_a_gateway_can_call_directly(handler, gateway):
    call = {"servey": {"action": "double", "params": {"number": 4}}}
    body = json.dumps(call).encode()
    headers = (("content-type", "application/json"), ("servey", body.decode()))
    for path in ("/", "/servey", "/?servey=" + body.decode().replace(" ", "").replace('"', "%22")):
        assert answer_of(handler(GATEWAYS[gateway](Request("POST", path, headers, body)), None)).status in (404, 405)


def test_a_function_of_an_action_that_is_not_there_does_not_start():
    with pytest.raises(ConfigError, match="SERVEY_AWS_ACTION is 'nothing'"):
        build_handler(
            create_app(actions=ACTIONS, settings=Settings(env="dev", allowed_hosts="*", aws_action="nothing"))
        )


def test_the_paths_of_servey_5_work(tmp_path):
    from tests.serving import run

    (tmp_path / "actions.py").write_text(
        "from servey import action\n\n@action\ndef double(n: int) -> int:\n    return 2 * n\n", encoding="utf-8"
    )
    program = (
        "from servey.servey_aws.lambda_router import invoke\n"
        "from servey.servey_aws.lambda_invoker import invoke as same\n"
        "from servey.aws import handler\n"
        "assert invoke is same is handler\n"
        "print(invoke({'servey': {'action': 'double', 'params': {'n': 2}}}, None))"
    )
    done = run("-c", program, cwd=tmp_path)
    assert done.stdout == "4\n", done.stderr
