"""`servey mcp`: an agent that starts the server as its own process, and speaks to it over standard input and output."""

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import ElicitResult

from servey import MCP_TOOL, Authorization, Context, Settings, action, create_app
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.mcp.offers import offers_of
from servey.mcp.server import Server
from servey.mcp.stdio import serve_stdio
from tests.serving import environment, run

CHANNELS = """
from servey import ScopeAccessControl, websocket_event_channel

orders = websocket_event_channel("orders", int, history=5, mcp=True, access_control=ScopeAccessControl("admin"))
"""
SECRET = "a-secret-of-more-than-32-bytes-for-tests"
ACTIONS = """
import asyncio, os
from fastapi import Request
from dataclasses import dataclass
from servey import MCP_TOOL, Authorization, Context, McpTrigger, ScopeAccessControl, action

@action(triggers=MCP_TOOL)
async def add(a: int, b: int = 2) -> int:
    print("a line that is no message")
    os.system("echo another")
    return a + b

@action(triggers=MCP_TOOL, access_control=ScopeAccessControl("admin"))
async def admin(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None

@dataclass
class Sure:
    sure: bool

@action(triggers=McpTrigger(asks=True))
async def ask(context: Context) -> list[bool]:
    return [context.ask(Sure, f"Sure {n}?").sure for n in range(2)]

@action(triggers=MCP_TOOL)
async def web_only(request: Request) -> str:
    return request.method

@action(triggers=MCP_TOOL, timeout=60)
async def slow(context: Context) -> None:
    context.progress(1, 60)
    try:
        await asyncio.sleep(60)
    finally:
        open("cancelled", "w", encoding="utf-8").close()
"""


@dataclass
class Sure:
    sure: bool


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "actions.py").write_text(ACTIONS, encoding="utf-8")
    (folder / "event_channels.py").write_text(CHANNELS, encoding="utf-8")
    return folder


def started(project: Path, *words: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "servey", "mcp", "--folder", str(project), *words],
        env=environment(SERVEY_ENV="dev", JWT_SECRET_KEY=SECRET),
    )


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_agent_is_the_trusted_operator(project, mode):
    async def answer(context: Any, question: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"sure": question.message == "Sure 1?"})

    async def main() -> None:
        async with Client(stdio_client(started(project)), mode=mode, elicitation_callback=answer) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"add", "admin", "slow", "ask"}
            assert (await client.call_tool("ask")).structured_content == {"result": [False, True]}
            assert (await client.call_tool("add", {"a": 1})).structured_content == {"result": 3}
            assert (await client.call_tool("admin")).structured_content == {"result": None}
            assert (await client.call_tool("add", {"a": "x"})).is_error
            assert [each.name for each in (await client.list_resources()).resources] == ["orders"]
            assert (await client.read_resource("events:///orders")).contents[0].text == "[]"

    anyio.run(main)


def test_a_token_or_none_applies_the_rules(project):
    signer = JwtAuthorizer(OneKey(secret_key(SECRET)))
    token = signer.sign(Authorization("ada", frozenset({"admin"})), lifetime=60)

    async def main() -> None:
        async with Client(stdio_client(started(project, "--token", token))) as client:
            assert (await client.call_tool("admin")).structured_content == {"result": "ada"}
        async with Client(stdio_client(started(project, "--anonymous"))) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"add", "slow"}
            refused = await client.call_tool("admin")
            assert refused.content[0].text == "Not authenticated (unauthenticated)"
            assert (await client.list_resources()).resources == []
            with pytest.raises(MCPError, match="Not authenticated"):
                await client.read_resource("events:///orders")

    anyio.run(main)


class Process:
    """The command, and its messages as lines."""

    def __init__(self, project: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "servey", "mcp"],
            cwd=project,
            env=environment(SERVEY_ENV="dev", JWT_SECRET_KEY=SECRET),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def write(self, line: bytes) -> None:
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def send(self, method: str, params: Any = None, **more: Any) -> None:
        self.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}, **more}).encode())

    def read(self) -> Any:
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def process(project) -> Iterator[Process]:
    made = Process(project)
    yield made
    made.process.stdin.close()
    assert made.process.wait(20) == 0
    assert made.process.stdout.read() == b""
    made.process.stdout.close()


def test_what_is_no_message_gets_an_error(process):
    for line, code in (
        (b"{", -32700),
        (b"[]", -32600),
        (b"\xff", -32700),
        (b'"' + b"x" * 3_000_000 + b'"', 413),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "x"}', -32601),
    ):
        process.write(line)
        assert process.read()["error"]["code"] == code
    process.write(b"")
    process.write(b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}}')
    process.send("ping", id="last")
    assert process.read() == {"jsonrpc": "2.0", "id": "last", "result": {}}


def test_calls_run_side_by_side_and_can_be_cancelled(process, project):
    (project / "cancelled").unlink(missing_ok=True)
    process.send("tools/call", {"name": "slow", "_meta": {"progressToken": "p"}}, id=1)
    assert process.read()["params"] == {"progressToken": "p", "progress": 1.0, "total": 60.0}
    process.send("tools/call", {"name": "slow"}, id=1)
    assert process.read()["error"]["message"] == "A request with this id is running"
    process.send("tools/call", {"name": "add", "arguments": {"a": 1}}, id=2)
    assert process.read()["id"] == 2
    process.send("notifications/cancelled", {"requestId": 1})
    process.send("tools/call", {"name": "add", "arguments": {"a": 1}}, id=3)
    assert process.read()["id"] == 3
    process.send("initialize", {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}}, id=4)
    assert process.read()["id"] == 4
    process.send("tools/call", {"name": "ask"}, id=5)
    question = process.read()
    process.write(json.dumps({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "root"}}).encode())
    assert process.read()["error"]["code"] == -32602
    process.send("tools/call", {"name": "ask"}, id=6)
    assert process.read()["params"] == question["params"]
    process.process.stdin.close()
    assert process.read()["error"]["message"] == "The client has gone without an answer"
    process.process.wait(20)
    assert (project / "cancelled").exists()


def test_an_answer_may_be_the_last_line():
    """The answer and the end of the input arrive together, before the call continues."""

    @action(triggers=MCP_TOOL)
    async def ask(context: Context) -> bool:
        answer = context.ask(Sure, "Sure?")
        return answer is not None and answer.sure

    questions: queue.Queue[Any] = queue.Queue()
    written: list[Any] = []

    def line(**message: Any) -> bytes:
        return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"

    class Lines:
        def __init__(self) -> None:
            capabilities = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}}
            self.before = [
                line(id=1, method="initialize", params=capabilities),
                line(id=2, method="tools/call", params={"name": "ask"}),
            ]
            self.answers = [{"action": "accept", "content": {"sure": True}}]

        def readline(self, limit: int) -> bytes:
            if self.before:
                return self.before.pop(0)
            return line(id=questions.get(timeout=5)["id"], result=self.answers.pop()) if self.answers else b""

    def write(message: bytes) -> None:
        written.append(json.loads(message))
        if written[-1].get("method") == "elicitation/create":
            questions.put(written[-1])
            (reader,) = [thread for thread in threading.enumerate() if thread.name == "servey mcp"]
            until = time.monotonic() + 5
            while reader.is_alive() and time.monotonic() < until:
                pass  # the loop must not run before both lines are there

    async def main() -> None:
        app = create_app(actions=[ask], settings=Settings(env="dev"))
        async with app.running():
            server = Server(app.runtime, offers_of(app.runtime, has_request=False), "/mcp")
            await serve_stdio(server, cast("Any", Lines()), write, token=None, trusted=True)

    anyio.run(main)
    assert written[-1]["result"]["structuredContent"] == {"result": True}


def test_it_prints_the_configuration_for_agents(project):
    done = run("-m", "servey", "mcp", "--config", "--anonymous", "--app", "app:app", cwd=project)
    (entry,) = json.loads(done.stdout)["mcpServers"].items()
    assert entry[0] == project.name
    assert entry[1]["command"] == sys.executable
    words = ["-m", "servey", "mcp", "--folder", str(project), "--app", "app:app", "--anonymous"]
    assert entry[1]["args"] == words


def test_bad_usage_is_an_error(project, tmp_path):
    for words, text in (
        (["--token", "x", "--anonymous"], "use either --token or --anonymous, not both"),
        (["--folder", "absent"], "--folder: there is no folder 'absent'"),
    ):
        done = run("-m", "servey", "mcp", *words, cwd=project)
        assert (done.returncode, done.stderr.strip()) == (2, f"error: {text}")
    (tmp_path / "actions.py").write_text(
        "from servey import action\n@action\ndef f() -> int: return 1\n", encoding="utf-8"
    )
    done = run("-m", "servey", "mcp", cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing is offered over MCP; add MCP_TOOL" in done.stderr
