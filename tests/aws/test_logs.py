"""The log of a function in Lambda: JSON lines, written before the process freezes, with the ids that clients see."""

import json

from tests.serving import run

PROGRAM = """
import json
import logging
import sys

from servey import WEB_GET, Context, action, create_app
from servey.aws import build_handler


@action(triggers=WEB_GET)
async def say(context: Context) -> str:
    logging.getLogger("shop").warning("said")
    return context.request_id


class LambdaContext:
    def __init__(self, number):
        self.aws_request_id = f"invocation-{number}"


class LambdaLoggerHandler(logging.StreamHandler):
    pass


logging.getLogger().addHandler(LambdaLoggerHandler())
handler = build_handler(create_app(actions=[say]))
for number, headers in enumerate([{}, {}, {"x-request-id": "clients-own"}, {"x-request-id": "not valid"}, {}]):
    event = {
        "version": "2.0",
        "rawPath": "/actions/say",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {"http": {"method": "GET", "path": "/actions/say"}, "stage": "$default"},
    }
    answer = handler(event, LambdaContext(number))
    print(json.dumps([answer["headers"]["x-request-id"], json.loads(answer["body"])]), file=sys.stderr)
handler({"servey": {"action": "say"}}, LambdaContext("direct"))
"""


def test_the_answer_the_context_and_the_log_have_the_same_id(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = run("program.py", cwd=tmp_path, AWS_LAMBDA_FUNCTION_NAME="shop", SERVEY_ENV="prod")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert "no job queue" in lines.pop(0)["msg"]
    for place, expected in enumerate(["invocation-0", "invocation-1", "clients-own", None, "invocation-4"]):
        # Each invocation has written its lines before its answer.
        said, access, (sent, seen) = lines[3 * place : 3 * place + 3]
        assert (said["msg"], access["msg"]) == ("said", "GET /actions/say 200")
        assert {said["request_id"], access["request_id"], seen} == {sent}
        assert sent == expected or (expected is None and len(sent) > 10)
    said, access = lines[15:]
    assert (said["request_id"], access["request_id"], access["transport"]) == (
        "invocation-direct",
        "invocation-direct",
        "lambda",
    )
