"""Direct calls of a Lambda function: trusted, of one action, and never by a stranger."""

import json

import pytest

from servey import ConfigError, Settings, create_app
from servey.aws import build_handler
from servey.aws.calls import CallFailed
from servey.aws.events import UnknownEvent
from tests.aws.dispatch_app import ACTIONS, LambdaContext, ask, direct
from tests.aws.gateways import GATEWAYS, Request, answer_of


def test_a_direct_call_is_trusted(handler):
    assert direct(handler, "how") == ["lambda", True, None, "lambda-request-1"]
    assert direct(handler, "in_a_thread", number=2) == -2
    assert direct(handler, "numbers", upto=3) == [0, 1, 2]


def test_a_direct_call_of_servey_5_is_one_too(handler):
    assert handler({"action_name": "double", "params": {"number": 4}}, LambdaContext()) == 8
    with pytest.raises(CallFailed, match="there is no action 'nothing'"):
        handler({"action_name": "nothing", "params": {}}, LambdaContext())
    for event in ({"action_name": "double"}, {"action_name": "double", "params": {}, "authorization": {}}):
        with pytest.raises(UnknownEvent):
            handler(event, LambdaContext())


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
    {"number": 4, "raw_path": "/", "method": "POST", "headers": {}, "body": "4"},  # VPC Lattice
    {"number": 4, "eventSource": "aws:kafka", "records": {}},
    {"number": 4, "eventSource": "aws:mq", "messages": []},
    {"number": 4, "deliveryStreamArn": "arn", "records": []},
    {"number": 4, "Records": [{"cf": {"request": {"uri": "/"}}}]},
    {"number": 4, "sessionId": "s", "inputTranscript": "hello", "bot": {}},
    {"number": 4, "messageVersion": "1.0", "agent": {}, "inputText": "hello"},
    {"number": 4, "Name": "ContactFlowEvent", "Details": {}},
    {"number": 4, "session": {}, "request": {}, "version": "1.0"},
    {"number": 4, "getObjectContext": {}, "userRequest": {"url": "/"}},
    {"number": 4, "RequestType": "Create", "ResponseURL": "https://example.com"},
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
