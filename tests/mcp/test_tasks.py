"""Tools that run long are jobs, whose result a client polls as a task."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Request, RequestParams, Result
from pydantic import BaseModel

from servey import (
    MCP_TOOL,
    WEB_POST,
    Authorization,
    Conflict,
    Context,
    McpTrigger,
    Retry,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
)
from servey.core.errors import ConfigError
from servey.testing import client, token_for
from tests.mcp.agents import META, MODERN

TASKS = "io.modelcontextprotocol/tasks"
POLLS = {**META, "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}


@dataclass
class Report:
    lines: int
    by: str | None


@action(triggers=[WEB_POST, McpTrigger(task=True)])
async def write_report(lines: int, authorization: Authorization | None = None) -> Report:
    if lines == 0:
        raise Conflict("There is nothing to report")
    return Report(lines, authorization and authorization.subject_id)


@action(triggers=McpTrigger(task=True), access_control=ScopeAccessControl("write"))
async def guarded() -> str:
    return "in"


@action(triggers=McpTrigger(task=True))
async def wait(context: Context) -> str:
    context.progress(3, 10)
    await asyncio.sleep(60)
    return "never"


@action(triggers=McpTrigger(task=True))
async def halve(number: float) -> float:
    return number / 2 if number else float("nan")


tries: list[int] = []


@action(triggers=McpTrigger(task=True), retry=Retry(max_tries=3, backoff=0.01))
def flaky() -> int:
    tries.append(1)
    if len(tries) < 3:
        raise RuntimeError("not yet")
    return len(tries)


@action(triggers=[WEB_POST, MCP_TOOL])
async def quick() -> str:
    return "done"


ALL = [write_report, guarded, wait, halve, flaky, quick]


class Agent:
    """Posts the messages of clients of 2026-07-28."""

    def __init__(self, app: Any, http: Any) -> None:
        self.app, self.http = app, http

    def post(self, method: str, caller: str | None = None, meta: Any = POLLS, **params: Any) -> Any:
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        name = params.get("name", params.get("taskId"))
        headers |= {"Mcp-Name": name} if name else {}
        if caller:
            token = token_for(self.app, Authorization(caller, frozenset(["write"] if caller != "reader" else [])))
            headers |= {"Authorization": f"Bearer {token}"}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        return self.http.post("/mcp", json=body, headers=headers)

    def call(self, name: str, caller: str | None = None, **arguments: Any) -> Any:
        return self.post("tools/call", caller, name=name, arguments=arguments).json()["result"]

    def ended(self, task: Any, caller: str | None = None) -> Any:
        """Poll a task until it has ended."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = self.post("tasks/get", caller, taskId=task["taskId"]).json()["result"]
            if found["status"] != "working":
                return found
            time.sleep(0.01)
        raise AssertionError("the task does not end")


@contextmanager
def agent() -> Iterator[Agent]:
    app = create_app(actions=ALL, settings=Settings(env="dev"))
    with client(app) as http:
        yield Agent(app, http)


def test_a_call_is_a_task_whose_result_is_polled():
    with agent() as mine:
        capabilities = mine.post("server/discover").json()["result"]["capabilities"]
        assert capabilities["extensions"] == {TASKS: {}}
        task = mine.call("write_report", "anna", lines=7)
        assert (task["resultType"], task["status"], task["ttlMs"]) == ("task", "working", None)
        assert {"createdAt", "lastUpdatedAt", "pollIntervalMs"} < task.keys() and "result" not in task
        ended = mine.ended(task, "anna")
    assert (ended["resultType"], ended["status"], ended["taskId"]) == ("complete", "completed", task["taskId"])
    assert ended["result"]["structuredContent"] == {"lines": 7, "by": "anna"}
    assert 86_400_000 <= ended["ttlMs"] < 86_500_000


def test_only_who_began_a_task_may_see_and_cancel_it():
    with agent() as mine:
        task = mine.call("wait", "anna")
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            for caller in ("bob", None):
                refused = mine.post(method, caller, taskId=task["taskId"], inputResponses={})
                assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32602)
        end = time.monotonic() + 20
        while (seen := mine.post("tasks/get", "anna", taskId=task["taskId"]).json()["result"]).get(
            "statusMessage"
        ) is None:
            assert time.monotonic() < end
        assert (seen["status"], seen["statusMessage"]) == ("working", "3 of 10")
        for _ in range(2):
            cancelled = mine.post("tasks/cancel", "anna", taskId=task["taskId"]).json()["result"]
            assert cancelled.keys() == {"resultType", "_meta"} and cancelled["resultType"] == "complete"
            ended = mine.ended(task, "anna")
        assert ended["status"] == "cancelled" and "result" not in ended


def test_a_task_that_fails_has_the_result_of_the_call():
    with agent() as mine:
        failed = mine.ended(mine.call("write_report", lines=0))
        tries.clear()
        flaky = mine.ended(mine.call("flaky"))
        nan = mine.ended(mine.call("halve", number=0))
    assert (failed["status"], failed["result"]["isError"]) == ("completed", True)
    assert failed["result"]["content"][0]["text"] == "There is nothing to report (conflict)"
    assert (flaky["status"], flaky["result"]["structuredContent"]) == ("completed", {"result": 3})
    assert (nan["status"], nan["result"]["isError"]) == ("completed", True), "its schema has no null"


def test_what_may_not_be_called_is_no_task():
    with agent() as mine:
        wrong = mine.call("write_report", lines="x")
        assert (wrong["resultType"], wrong["isError"]) == ("complete", True)
        assert "lines: " in wrong["content"][0]["text"]
        assert mine.post("tools/call", name="guarded").status_code == 401
        refused = mine.post("tools/call", "reader", name="guarded")
        assert (refused.status_code, "insufficient_scope" in refused.headers["www-authenticate"]) == (403, True)
        assert mine.ended(mine.call("guarded", "anna"), "anna")["result"]["structuredContent"] == {"result": "in"}


def test_only_a_client_that_polls_gets_tasks():
    with agent() as mine:
        direct = mine.post("tools/call", meta=META, name="write_report", arguments={"lines": 1}).json()["result"]
        assert direct["structuredContent"] == {"lines": 1, "by": None}
        refused = mine.post("tasks/get", meta=META, taskId="x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32021)
        assert refused.json()["error"]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        older = mine.http.post(
            "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "x"}}
        ).json()
        assert older["error"]["code"] == -32601
        assert mine.call("quick")["structuredContent"] == {"result": "done"}
        later = mine.http.post("/actions/quick", headers={"Prefer": "respond-async"}).json()
        assert mine.post("tasks/get", taskId=later["id"]).json()["error"]["code"] == -32602, "it is no tool with tasks"


def test_without_a_queue_a_call_lasts_until_its_result():
    app = create_app(actions=ALL, settings=Settings(env="dev"))
    app.runtime.parts.queue = "servey.aws.queue:no_queue_of"  # as on Lambda without SERVEY_QUEUE_URL
    with client(app) as http:
        result = Agent(app, http).call("write_report", lines=2)
    assert (result["resultType"], result["structuredContent"]) == ("complete", {"lines": 2, "by": None})


def test_what_cannot_be_a_task_stops_the_start():
    async def items() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ConfigError, match="cannot be a task, because it is a stream"):
        create_app(actions=[action(triggers=McpTrigger(task=True))(items)], settings=Settings(env="dev"))
    for wrong in ({"kind": "prompt"}, {"asks": True}):
        with pytest.raises(ConfigError, match="task=True"):
            McpTrigger(task=True, **wrong)


# ---------------------------------------------------------------------------------------------------- the official client


class Task(Result):
    result_type: Literal["task"] = "task"
    taskId: str


class TaskParams(RequestParams):
    taskId: str


class GetTask(Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class State(BaseModel):
    status: str
    result: dict[str, Any] | None = None


class Tasks(ClientExtension):
    identifier = TASKS

    def __init__(self) -> None:
        self.seen: list[str] = []

    def claims(self) -> Any:
        return [ResultClaim(result_type="task", model=Task, resolve=self.poll)]

    async def poll(self, task: Task, context: ClaimContext) -> CallToolResult:
        self.seen.append(task.taskId)
        async with asyncio.timeout(20):
            while (
                state := await context.session.send_request(GetTask(params=TaskParams(taskId=task.taskId)), State)
            ).result is None:
                await asyncio.sleep(0.01)
        return CallToolResult.model_validate(state.result)


@pytest.mark.anyio
async def test_the_official_client_polls_a_task_to_its_result():
    app = create_app(actions=ALL, settings=Settings(env="dev"))
    tasks = Tasks()
    async with app.running(), httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:
        async with Client(
            streamable_http_client("http://testserver/mcp", http_client=http), extensions=[tasks]
        ) as client:
            result = await client.call_tool("write_report", {"lines": 4})
            assert result.structured_content == {"lines": 4, "by": None}
            assert (await client.call_tool("quick")).structured_content == {"result": "done"}
    assert len(tasks.seen) == 1
