"""Autobahn's fuzzing client, which no one here wrote, against a server of `servey run`.

It is of Python 2.7 alone; where there is one, it is installed beside it.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving import free_port, started

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.timeout(900)]

SUITE = "autobahntestsuite==25.10.1"
VIRTUALENV = "virtualenv<20.22"
APP = """
from fastapi import WebSocket, WebSocketDisconnect
from servey import create_app, websocket_event_channel

app = create_app(channels=[websocket_event_channel("events", str)])


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        pass  # it has left before the echo
"""
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}
KNOWN = {"7.1.5": "a close between the fragments of a message is an error to the websockets library, 1002 and not 1000"}
LEFT_OUT = ["9.*", "12.*", "13.*"]
"""Large messages, which measure speed; compression, which is off."""


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pythons = [*map(str, Path.home().glob(".pyenv/versions/2.7*/bin/python")), shutil.which("python2.7")]
    python = next((each for each in pythons if each), None)
    if python is None:
        pytest.skip("skipped: Autobahn's fuzzing client needs a Python 2.7")
    folder = tmp_path_factory.mktemp("autobahn")
    tool = {**os.environ, "PYTHONPATH": str(folder / "tool")}
    for command, env in (
        ([python, "-m", "pip", "install", "-q", "--target", str(folder / "tool"), VIRTUALENV], dict(os.environ)),
        ([python, "-m", "virtualenv", "-q", str(folder / "env")], tool),
        ([str(folder / "env" / "bin" / "pip"), "install", "-q", SUITE], dict(os.environ)),
    ):
        done = subprocess.run(command, env=env, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
    return folder / "env" / "bin" / "wstest"


def cases_of(fuzzer: Path, path: str, folder: Path) -> tuple[dict[str, dict[str, str]], str]:
    """What the client says of each case, and the server's log."""
    (folder / "echo_app.py").write_text(APP, encoding="utf-8")
    port = free_port()
    spec = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": "servey", "url": f"ws://127.0.0.1:{port}{path}"}],
        "cases": ["*"],
        "exclude-cases": LEFT_OUT,
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    words = ["-m", "servey", "run", "echo_app:app", "--port", str(port)]
    with started(words, port, cwd=str(folder)) as server:
        command = [str(fuzzer), "-m", "fuzzingclient", "-s", str(folder / "spec.json")]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        log = server.log.read_text(encoding="utf-8")
    return json.loads((folder / "reports" / "index.json").read_text(encoding="utf-8"))["servey"], log


def test_an_echo_behaves_as_the_protocol_says(fuzzer, tmp_path):
    cases, log = cases_of(fuzzer, "/echo", tmp_path)
    assert len(cases) > 200
    bad = {name: case for name, case in cases.items() if {case["behavior"], case["behaviorClose"]} - GOOD}
    assert set(bad) == set(KNOWN), bad
    assert "Traceback" not in log


def test_every_connection_to_a_subscription_is_closed_properly(fuzzer, tmp_path):
    """It answers what is no frame of ours with an Error frame, which to the client is a wrong echo, but nothing worse."""
    cases, log = cases_of(fuzzer, "/subscription", tmp_path)
    assert len(cases) > 200
    assert {case["behaviorClose"] for case in cases.values()} <= {*GOOD, "WRONG CODE"}
    assert "Traceback" not in log
