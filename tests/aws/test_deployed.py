"""Deploy the tour to an AWS emulator that enforces IAM, use it, and remove it."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import boto3
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from servey import Authorization
from servey.aws.clients import Client
from servey.aws.keys import KmsAuthorizer
from tests.aws.tools import HERE, osls, python_of, run_osls
from tests.serving import ROOT, free_port, run, wait_for_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MORE = {
    "actions/deployed.py": '''
"""Files that only the deployed tour has."""

from event_channels import measured, ticks

from servey import WEB_POST, Context, FixedRateTrigger, ScopeAccessControl, action


@action(triggers=FixedRateTrigger(60))
async def tick() -> None:
    await ticks.publish("tick")


@action(triggers=WEB_POST)
async def tell_all(text: str) -> None:
    await ticks.publish(text)


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def measure(width: int, context: Context) -> str:
    return await context.enqueue("double_width", {"width": width})


@action(triggers=WEB_POST)
async def measure_later(width: int) -> None:
    await measured.publish(width)
''',
    "event_channels.py": """
from servey import Retry, ScopeAccessControl, action, background_action_channel, websocket_event_channel

ticks = websocket_event_channel("ticks", str)
secrets = websocket_event_channel("secrets", str, access_control=ScopeAccessControl("root"))


@action(retry=Retry(max_tries=1))
async def double_width(width: int) -> int:
    await ticks.publish(f"doubled {2 * width}")
    return 2 * width


measured = background_action_channel(double_width, name="measured")
""",
}


@dataclass(frozen=True)
class Deployed:
    """A stack in the emulator."""

    endpoint: str
    http_id: str
    socket_url: str
    function: str
    environment: dict[str, str]

    def aws(self, service: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=self.endpoint, region_name="us-east-1", **keys)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        port = self.endpoint.rpartition(":")[2]
        host = f"{self.http_id}.execute-api.localhost:{port}"
        return self.request_to(host, method, path, body, **headers)

    def appsync(self, query: str, **headers: str) -> Any:
        client = self.aws("appsync")
        (api,) = client.list_graphql_apis()["graphqlApis"]
        (key,) = client.list_api_keys(apiId=api["apiId"])["apiKeys"]
        host = f"{api['apiId']}.appsync-api.localhost:{self.endpoint.rpartition(':')[2]}"
        return self.request_to(host, "POST", "/graphql", {"query": query}, **{"x-api-key": key["id"]}, **headers)[1]

    def request_to(self, host: str, method: str, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        named = {"Host": host, "Content-Type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        try:
            made = urllib.request.Request(self.endpoint + path, data, named, method=method)
            with urllib.request.urlopen(made, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def invoke(self, event: Any) -> Any:
        answer = self.aws("lambda").invoke(FunctionName=self.function, Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read())
        return payload if "FunctionError" not in answer else (answer["FunctionError"], payload)

    def token(self, subject: str, *scopes: str) -> str:
        authorizer = KmsAuthorizer((self.environment["SERVEY_KMS_KEY_ID"],), Client("kms", lambda: self.aws("kms")))
        caller = Authorization(subject, frozenset(scopes))
        return f"Bearer {anyio.run(lambda: authorizer.sign_by_kms(caller, lifetime=600))}"

    def socket(self, **headers: str) -> ClientConnection:
        # The emulator resolves names below localhost; this machine does not.
        port = int(self.endpoint.rpartition(":")[2])
        here = socket.create_connection(("127.0.0.1", port))
        return connect(self.socket_url, sock=here, additional_headers=headers, open_timeout=60)


@contextmanager
def emulator(folder: Path) -> Iterator[str]:
    """Return the emulator's address."""
    port, log = free_port(), folder / "emulator.log"
    env = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "AUTH": "true", "PATH": os.environ["PATH"]}
    env |= {"HOME": str(folder), "TMPDIR": str(folder)}
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [str(python_of("emulator")), str(HERE / "emulator.py")],
            env=env,
            cwd=folder,
            stdout=out,
            stderr=out,
            encoding="utf-8",
        )
        try:
            wait_for_port(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    osls()
    folder = tmp_path_factory.mktemp("deployed")
    project = folder / "tour"
    shutil.copytree(ROOT / "examples" / "tour", project, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    for name, text in MORE.items():
        with (project / name).open("a", encoding="utf-8") as file:
            file.write(text)
    for words in (["sls", "--appsync"], ["package"]):
        done = run("-m", "servey", *words, cwd=project, timeout=400)
        assert done.returncode == 0, done.stderr
        text = (project / "serverless.yml").read_text(encoding="utf-8")
        (project / "serverless.yml").write_text(
            text.replace("architecture: arm64", "architecture: x86_64"), encoding="utf-8"
        )
    with emulator(folder) as endpoint:
        keys = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        run_osls(["deploy"], project, **keys)
        made = found(endpoint)
        yield made
        run_osls(["remove"], project, **keys)
        assert made.aws("lambda").list_functions()["Functions"] == []
        assert made.aws("dynamodb").list_tables()["TableNames"] == []
        assert made.aws("sqs").list_queues().get("QueueUrls", []) == []


def found(endpoint: str) -> Deployed:
    """Return the deployed stack. The emulator provides the endpoint for the function's websocket messages."""
    made = Deployed(endpoint, "", "", "tour-dev-servey", {})
    apis = {api["ProtocolType"]: api["ApiId"] for api in made.aws("apigatewayv2").get_apis()["Items"]}
    functions = made.aws("lambda")
    environment = functions.get_function_configuration(FunctionName=made.function)["Environment"]["Variables"]
    environment["SERVEY_WEBSOCKET_ENDPOINT"] = f"{endpoint}/_aws/execute-api/{apis['WEBSOCKET']}/dev"
    functions.update_function_configuration(FunctionName=made.function, Environment={"Variables": environment})
    port = endpoint.rpartition(":")[2]
    socket_url = f"ws://{apis['WEBSOCKET']}.execute-api.localhost:{port}/dev"
    return Deployed(endpoint, apis["HTTP"], socket_url, made.function, environment)


def frames_of(connection: ClientConnection, wanted: Callable[[Any], bool], within: float = 60) -> Any:
    """Return the first matching frame."""
    end = time.monotonic() + within
    while True:
        frame = json.loads(connection.recv(timeout=max(0.1, end - time.monotonic())))
        if wanted(frame):
            return frame


def test_http(deployed):
    assert deployed.request("GET", "/actions/say-hello?name=World") == (200, "Hello World!")
    assert deployed.request("GET", "/products/1")[1]["name"] == "A Pattern Language"
    assert deployed.request("GET", "/departments/garden/cheapest?under=5")[1]["code"] == "not_found"
    assert deployed.request("GET", "/actions/export-products")[0] == 501
    assert deployed.request("GET", "/docs")[0] == 404


def test_graphql(deployed):
    query = '{ sayHello(name: "World") getProduct(productId: 1) { name } }'
    status, answer = deployed.request("POST", "/graphql", {"query": query})
    assert (status, answer) == (
        200,
        {"data": {"sayHello": "Hello World!", "getProduct": {"name": "A Pattern Language"}}},
    )
    guarded = {"query": "{ readLog }"}
    assert deployed.request("POST", "/graphql", guarded)[1]["errors"][0]["extensions"]["code"] == "unauthenticated"


def test_appsync(deployed):
    """The resolvers are those of the stack; the emulator sends the fields of a batch one by one."""
    answer = deployed.appsync('{ sayHello(name: "World") getProduct(productId: 1) { name department } }')
    assert answer["data"] == {
        "sayHello": "Hello World!",
        "getProduct": {"name": "A Pattern Language", "department": "books"},
    }
    nested = "{ browse(department: garden) { product { name } stars similar(limit: 1) { product { department } } } }"
    entries = deployed.appsync(nested)["data"]["browse"]
    assert {entry["similar"][0]["product"]["department"] for entry in entries} == {"garden"}
    assert {entry["stars"] for entry in entries} == {None}  # there are no reviews yet
    assert deployed.appsync("{ readLog }")["errors"][0]["message"].endswith("(unauthenticated)")
    boss = deployed.token("boss", "root")
    assert isinstance(deployed.appsync("{ readLog }", Authorization=boss)["data"]["readLog"], list)


def test_tokens_that_kms_has_signed(deployed):
    assert deployed.request("GET", "/actions/read-log")[0] == 401
    assert deployed.request("GET", "/actions/read-log", Authorization=deployed.token("ada"))[0] == 403
    assert deployed.request("GET", "/actions/read-log", Authorization=deployed.token("boss", "root"))[0] == 200
    assert deployed.request("GET", "/actions/read-log", Authorization=deployed.token("boss", "root") + "x")[0] == 401


def test_direct_calls(deployed):
    assert deployed.invoke({"servey": {"action": "say_hello", "params": {"name": "you"}}}) == "Hello you!"
    error, told = deployed.invoke({"servey": {"action": "say_hello", "params": {}}})
    assert error == "Unhandled"
    assert "name: Field required (invalid_params)" in told["errorMessage"]
    error, told = deployed.invoke({"nothing": "known"})
    assert error == "Unhandled"
    assert "cannot handle an event" in told["errorMessage"]


def test_websockets(deployed):
    with deployed.socket() as one, deployed.socket(Authorization=deployed.token("boss", "root")) as two:
        for connection in (one, two):
            connection.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
            assert frames_of(connection, lambda frame: True)["type"] == "Subscribed"
        one.send(json.dumps({"type": "Subscribe", "payload": "secrets"}))
        assert frames_of(one, lambda frame: True)["code"] == "unauthenticated"
        two.send(json.dumps({"type": "Subscribe", "payload": "secrets"}))
        assert frames_of(two, lambda frame: True)["type"] == "Subscribed"
        with deployed.socket() as gone:
            gone.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
            frames_of(gone, lambda frame: True)
        assert deployed.request("POST", "/actions/tell-all", {"text": "hello"})[0] == 200
        for connection in (one, two):
            assert frames_of(connection, lambda frame: frame["type"] == "Event")["payload"] == "hello"
    with pytest.raises(InvalidStatus), deployed.socket(Authorization="Bearer not.a.token"):
        pass


def test_background_work(deployed):
    with deployed.socket() as connection:
        connection.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
        frames_of(connection, lambda frame: frame["type"] == "Subscribed")
        assert deployed.request("POST", "/actions/measure-later", {"width": 21})[0] == 200
        frames_of(connection, lambda frame: frame.get("payload") == "doubled 42")


def test_a_job_and_what_became_of_it(deployed):
    boss = deployed.token("boss", "root")
    status, job_id = deployed.request("POST", "/actions/measure", {"width": 4}, Authorization=boss)
    assert status == 200
    state: dict[str, Any] = {}

    def is_done() -> bool:
        state.update(deployed.request("GET", f"/jobs/{job_id}", Authorization=boss)[1])
        return state["state"] == "done"

    wait_until(is_done, "the job", within=60)
    assert state["result"] == 8
    assert deployed.request("GET", f"/jobs/{job_id}", Authorization=deployed.token("eve"))[0] == 404


def test_a_schedule_of_eventbridges(deployed):
    with deployed.socket() as connection:
        connection.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
        frames_of(connection, lambda frame: frame.get("payload") == "tick", within=150)


def test_the_role_has_no_right_too_many(deployed):
    """Each IAM action is necessary: without it one of the tests above fails."""
    iam = deployed.aws("iam")
    names = [each["RoleName"] for each in iam.list_roles()["Roles"]]
    (role,) = [each for each in names if "Servey" in each and "Appsync" not in each]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]

    def without(action: str) -> None:
        kept = [
            {**each, "Action": [every for every in each["Action"] if every != action]} for each in policy["Statement"]
        ]
        document = {**policy, "Statement": [each for each in kept if each["Action"]]}
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    needed = {
        "sqs:SendMessage": lambda: deployed.request("POST", "/actions/measure-later", {"width": 1})[0],
        "dynamodb:Query": lambda: deployed.request("POST", "/actions/tell-all", {"text": "x"})[0],
        "dynamodb:PutItem": lambda: deployed.request("POST", "/actions/measure-later", {"width": 1})[0],
    }
    try:
        for action, ask in needed.items():
            without(action)
            assert ask() in (500, 503), action
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))
    assert deployed.request("POST", "/actions/tell-all", {"text": "x"})[0] == 200
