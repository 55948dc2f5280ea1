"""Deploys a project to an AWS emulator that enforces IAM, and removes it."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import boto3
from websockets.sync.client import ClientConnection, connect

from servey import Authorization
from servey.aws.clients import Client
from servey.aws.keys import KmsAuthorizer
from tests.aws.tools import HERE, osls, python_of, run_osls
from tests.examples.lambda_door import OWN_HEADERS, Handler, listening
from tests.serving import ROOT, free_port, run, wait_for_port


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

    @contextmanager
    def door(self) -> Iterator[str]:
        """Yield a URL of this machine that passes everything on to the HTTP API."""
        address = self.endpoint.removeprefix("http://")
        host = f"{self.http_id}.execute-api.localhost:{address.rpartition(':')[2]}"

        class Door(Handler):
            def pass_on(self) -> None:
                sent = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
                connection = http.client.HTTPConnection(address, timeout=60)
                try:
                    connection.request(self.command, self.path, self.body(), {**sent, "Host": host})
                    answer = connection.getresponse()
                    kept = {
                        name: value for name, value in answer.headers.items() if name.lower() != "transfer-encoding"
                    }
                    self.answer(answer.status, {name.lower(): value for name, value in kept.items()}, answer.read())
                finally:
                    connection.close()

            do_GET = do_POST = do_PUT = do_DELETE = pass_on

        with listening(Door) as url:
            yield url

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


@contextmanager
def deployed(
    example: str, folder: Path, files: Mapping[str, str], *options: str, **environment: str
) -> Iterator[Deployed]:
    """Yield the stack of an example, with these files or additions to its files; ``options`` are those of `servey sls`."""
    osls()
    project = folder / example
    left_out = shutil.ignore_patterns("__pycache__", "tests", "*.db")
    shutil.copytree(ROOT / "examples" / example, project, ignore=left_out)
    for name, text in files.items():
        with (project / name).open("a", encoding="utf-8") as file:
            file.write(text)
    for words in (["sls", *options], ["package"]):
        done = run("-m", "servey", *words, cwd=project, timeout=400, **environment)
        assert done.returncode == 0, done.stderr
        text = (project / "serverless.yml").read_text(encoding="utf-8")
        (project / "serverless.yml").write_text(
            text.replace("architecture: arm64", "architecture: x86_64"), encoding="utf-8"
        )
    with emulator(folder) as endpoint:
        keys = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            **environment,
        }
        run_osls(["deploy"], project, **keys)
        made = found(endpoint, f"{example}-dev-servey")
        yield made
        run_osls(["remove"], project, **keys)
        assert made.aws("lambda").list_functions()["Functions"] == []
        assert made.aws("dynamodb").list_tables()["TableNames"] == []
        assert made.aws("sqs").list_queues().get("QueueUrls", []) == []


def found(endpoint: str, function: str) -> Deployed:
    """Return the deployed stack. The emulator provides the endpoint for the function's websocket messages."""
    made = Deployed(endpoint, "", "", function, {})
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
