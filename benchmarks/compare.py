"""Compares the same small app written four times (benchmarks/notes): python -m benchmarks.compare [--quick] [--write].

Each has REST and GraphQL over one database, a job after the commit, an event to websockets, a schedule and a test. The
apps and their workers run as processes, over one Redis; each is checked before it is measured.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from websockets.sync.client import connect

from benchmarks import wire
from benchmarks.cases import Case
from benchmarks.command import parser_of, print_report
from benchmarks.fanout import a_redis
from benchmarks.lines import lines_of
from benchmarks.load import load
from benchmarks.peers import APART_PYTHON

RESULTS = Path(__file__).parent / "COMPARE.md"
NOTES = Path(__file__).parent / "notes"
QUERY = json.dumps({"query": "{ notes(limit: 20) { id text words } }"}).encode()
ADD = "mutation { addNote(text: %s) { id text words } }"
SUBSCRIBE = json.dumps({"type": "Subscribe", "payload": "counted"})
CASES = (
    Case("REST", "GET 20 notes", "GET", "/notes", "limit=20"),
    Case(
        "GraphQL", "query 20 notes", "POST", "/graphql", body=QUERY, headers=((b"content-type", b"application/json"),)
    ),
)
SECONDS = 30
CONNECTIONS = 16
PACKAGES = ("fastapi", "strawberry-graphql", "uvicorn")


@dataclass(frozen=True)
class Peer:
    """One way to write the app: its folder, its interpreter, the words that start its worker, where its websockets are."""

    name: str
    folder: str
    python: str
    worker: tuple[str, ...]
    live: str
    set_up: str = ""

    @property
    def path(self) -> Path:
        return NOTES / self.folder

    @property
    def is_apart(self) -> bool:
        """Whether it runs in the peers' own environment."""
        return self.python == str(APART_PYTHON)


PEERS = (
    Peer("Servey", "with_servey", sys.executable, ("-m", "servey", "worker", "app:servey_app"), "/subscription"),
    Peer("FastAPI, Strawberry, arq", "by_hand", sys.executable, ("-m", "arq", "app.WorkerSettings"), "/live"),
    Peer(
        "Litestar, Strawberry, SAQ",
        "with_litestar",
        str(APART_PYTHON),
        ("-m", "litestar", "--app", "app:app", "workers", "run"),
        "/live/counted",
    ),
    Peer(
        "Django, Ninja, Channels, Strawberry, Celery",
        "with_django",
        str(APART_PYTHON),
        ("-m", "celery", "--app", "app:celery", "worker", "--beat", "--concurrency", "2", "--loglevel", "ERROR"),
        "/live",
        "import app, django.db\nwith django.db.connection.schema_editor() as editor: editor.create_model(app.Note)",
    ),
)


@contextmanager
def served(peer: Peer, redis_url: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server and a worker of the app; yield the server's process and its port."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        env = os.environ | {
            "SERVEY_REDIS_URL" if peer.folder == "with_servey" else "REDIS_URL": redis_url,
            "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/notes.db",
            "DATABASE": f"{folder}/notes.db",
            "SECRET_KEY": "only for the benchmark",
        }
        if peer.set_up:
            subprocess.run([peer.python, "-c", peer.set_up], cwd=peer.path, env=env, check=True)
        port = wire.free_port()
        name = "servey_app" if peer.folder == "with_servey" else "app"
        server = [peer.python, "-m", "uvicorn", f"app:{name}", "--port", str(port), "--no-access-log"]
        started = stack.enter_context(_process([*server, "--log-level", "error"], peer.path, env))
        wire.wait_for(port, peer.name)
        stack.enter_context(_process([peer.python, *peer.worker], peer.path, env))
        yield started, port


@contextmanager
def _process(words: list[str], folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, cwd=folder, env=env, start_new_session=True, stdout=quiet, stderr=quiet)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def check(peer: Peer, port: int) -> None:
    """Use an app as a client would. Errors: AssertionError if it does not do what the others do."""
    with connect(f"ws://127.0.0.1:{port}{peer.live}") as socket:
        if peer.folder == "with_servey":
            socket.send(SUBSCRIBE)
        time.sleep(1)  # some of them do not say when a socket is subscribed
        status, note = _post(port, "/notes", {"text": "three little words"})
        assert (status, note["words"]) == (201, None), note
        assert _counted(socket, note["id"]) == 3
        added = _post(port, "/graphql", {"query": ADD % json.dumps("only two")})[1]["data"]["addNote"]
        assert _counted(socket, int(added["id"])) == 2
    assert _post(port, "/notes", {"text": ""})[0] in (400, 422)
    assert _post(port, "/graphql", {"query": ADD % '""'})[1]["errors"]
    assert _get(port, "/notes?limit=101")[0] in (400, 422)
    newest = _get(port, "/notes?limit=1")[1]
    assert [each["words"] for each in newest] == [2], newest


def _counted(socket: Any, id: int) -> int:
    """Return the words of a note, when they have been counted."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        event = json.loads(socket.recv(timeout=SECONDS))
        event = event.get("payload", event)

        if event.get("id") == id:
            return int(event["words"])
    raise AssertionError(f"the words of note {id} were not counted")


def _get(port: int, path: str) -> tuple[int, Any]:
    return _answer(urllib.request.Request(f"http://127.0.0.1:{port}{path}"))


def _post(port: int, path: str, body: Any) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    return _answer(urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers))


def _answer(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def measure(rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Return the server's CPU microseconds a request of each peer and case: medians of interleaved rounds."""
    costs: dict[str, dict[str, list[float]]] = {peer.name: {case.name: [] for case in CASES} for peer in PEERS}
    with ExitStack() as stack:
        running = {}
        for peer in PEERS:
            process, port = stack.enter_context(served(peer, stack.enter_context(a_redis())))
            check(peer, port)
            for number in range(20):
                _post(port, "/notes", {"text": f"note number {number}"})
            running[peer.name] = process, port
        for _ in range(rounds):
            for name, (process, port) in running.items():
                for case in CASES:
                    before = cpu_seconds(process.pid)
                    requests = load(port, case, seconds, CONNECTIONS).requests
                    costs[name][case.name].append((cpu_seconds(process.pid) - before) / requests)
    return {
        name: {case: median(found[1:] or found) * 1e6 for case, found in each.items()} for name, each in costs.items()
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, with its threads that have ended. Source: proc(5), fields 14 and 15 of stat."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(*, quick: bool) -> Iterator[str]:
    found = measure(2 if quick else 6, 1 if quick else 3)
    yield from (
        "# The same app, four times",
        "",
        "Made by `python3 dev.py bench compare --write` from the apps in `benchmarks/notes`: notes over REST and GraphQL",
        "in SQLite, a job after the commit, an event to websockets, a schedule, and a test. One client checks all of them.",
        "Lines are lines of code, without blanks, comments and docstrings. CPU is the server's, in microseconds a request",
        "that reads 20 notes; uvicorn, one process, medians of interleaved rounds.",
        "",
        f"Python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
        "",
        "| with | lines | lines of the test | REST, CPU us | GraphQL, CPU us |",
        "|---|---|---|---|---|",
    )
    for peer in PEERS:
        lines = [lines_of([peer.path / name]) for name in ("app.py", "test_app.py")]
        costs = [round(found[peer.name][case.name]) for case in CASES]
        yield f"| {' | '.join(map(str, [peer.name, *lines, *costs]))} |"


def main() -> None:
    parser = parser_of("benchmarks.compare", __doc__, RESULTS)
    options = parser.parse_args()
    print_report(report(quick=options.quick), RESULTS, write=options.write)


if __name__ == "__main__":
    main()
