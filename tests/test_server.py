"""The servers behind `servey dev` and `servey run`: reload, streams at the end, refusals."""

import signal
import socket
import subprocess
import sys

import httpx
import pytest

from servey.runtime.systemd import READY, notify
from tests.serving import environment, free_port, launched, listens_at, run, started, wait_until

ACTIONS = """
import asyncio
from collections.abc import AsyncIterator
from fastapi import Request
from servey import *

@action(triggers=WEB_GET)
def caller(request: Request) -> list[str]:
    return [request.client.host, request.url.scheme]

@action(triggers=WEB_GET)
async def version() -> int:
    return 1

@action(triggers=WEB_GET)
async def endless() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(3600)

@action(triggers=WEB_GET)
def who(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None

@action(triggers=WEB_GET)
async def frozen() -> int:
    import gc
    return gc.get_freeze_count()
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return tmp_path


def get(server, path):
    try:
        answer = httpx.get(f"{server.url}{path}", timeout=5)
    except httpx.TransportError:
        return None
    return answer.json() if answer.status_code == 200 else answer.status_code


def test_dev_reloads_when_a_source_or_a_template_changes(project):
    port = free_port()
    (project / "templates").mkdir()
    with started(["-m", "servey", "dev", "--port", str(port)], port, cwd=project) as server:
        assert get(server, "/actions/version") == 1
        assert httpx.get(f"{server.url}/docs").status_code == 200
        (project / "actions.py").write_text(ACTIONS.replace("return 1", "return 2"), encoding="utf-8")
        wait_until(lambda: get(server, "/actions/version") == 2, "the reload")
        (project / "actions.py").write_text(ACTIONS.replace("return 1", "return nothing to see"), encoding="utf-8")
        wait_until(
            lambda: "error: module 'actions' cannot be imported (actions.py:" in server.log.read_text(encoding="utf-8"),
            "the problem",
        )
        page = httpx.get(f"{server.url}/docs", headers={"Accept": "text/html"})
        assert page.status_code == 500
        assert "module &#x27;actions&#x27; cannot be imported (actions.py:" in page.text
        assert httpx.get(f"{server.url}/actions/version").json()["code"] == "internal"
        foreign = httpx.get(f"{server.url}/docs", headers={"Host": "evil.example"})
        assert (foreign.status_code, "actions.py" in foreign.text) == (403, False)
        (project / "actions.py").write_text(ACTIONS.replace("return 1", "return 3"), encoding="utf-8")
        wait_until(lambda: get(server, "/actions/version") == 3, "the reload after a problem")
        seen = server.log.read_text(encoding="utf-8").count("Started server process")
        (project / "templates" / "page.j2").write_text("{{ model }}", encoding="utf-8")
        wait_until(
            lambda: server.log.read_text(encoding="utf-8").count("Started server process") > seen,
            "the reload for a template",
        )
        log = server.log.read_text(encoding="utf-8")
        assert "Traceback" not in log
        assert f"Serving on http://127.0.0.1:{port}/docs" in log
        assert "Loaded 5 actions\n" in log and "Loaded 5 actions (changed: version)" in log
        assert f"The console is at http://127.0.0.1:{port}/_servey" in log
        assert "No JWT_SECRET_KEY is set" in log
        assert server.end() < 5


def test_dev_names_the_line_that_blocks_the_event_loop(project):
    port = free_port()
    blocks = "\nimport time\n@action(triggers=WEB_GET)\nasync def slow() -> int:\n    time.sleep(0.8)\n    return 1\n"
    (project / "actions.py").write_text(ACTIONS + blocks, encoding="utf-8")
    line = (ACTIONS + blocks).splitlines().index("    time.sleep(0.8)") + 1
    with started(["-m", "servey", "dev", "--port", str(port)], port, cwd=project) as server:
        assert get(server, "/actions/slow") == 1
        expected = f"actions.py:{line}: slow has blocked the event loop"
        wait_until(lambda: expected in server.log.read_text(encoding="utf-8"), "the warning")


@pytest.mark.parametrize("words", [["dev"], ["run"], []])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_under_open_streams(project, words, number):
    port = free_port()
    options = ["--port", str(port)] if words else []
    with started(["-m", "servey", *words, *options], port, cwd=project, SERVER_PORT=str(port)) as server:
        with httpx.stream("GET", f"{server.url}/actions/endless") as lines, httpx.Client() as idle:
            assert next(lines.iter_lines()) == "1"
            idle.get(f"{server.url}/actions/version")
            assert server.end(number) < 4
        assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_run_serves_for_production(project):
    port = free_port()
    with started(["-m", "servey", "run", "--port", str(port)], port, cwd=project) as server:
        assert get(server, "/actions/version") == 1
        assert get(server, "/docs") == 404
        assert get(server, "/openapi.json") == 404
        assert get(server, "/health/live") == {"status": "ok"}
        assert get(server, "/health/ready") == {"status": "ok"}
        # No collection visits what the start has made.
        assert get(server, "/actions/frozen") > 10_000


@pytest.mark.parametrize("workers", [1, 2])
def test_run_listens_on_a_unix_socket(project, workers, redis):
    place = project / "web.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(place))
    words = ["-m", "servey", "run", "--uds", str(place), "--root-path", "/shop", "--workers", str(workers)]
    with launched(words, cwd=project, SERVEY_REDIS_URL=redis.url) as server:
        wait_until(lambda: listens_at(place), "the socket")
        assert f"--uds {place} is in use" in run(*words, cwd=project, SERVEY_REDIS_URL=redis.url).stderr
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(place)), base_url="http://shop") as http:
            assert [http.get(path).status_code for path in ("/actions/version", "/shop/actions/version", "/other")] == [
                200, 200, 404,
            ]  # fmt: skip
            # A client can send the first address; the last one is the proxy's own.
            forwarded = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9", "X-Forwarded-Proto": "https"}
            assert http.get("/actions/caller", headers=forwarded).json() == ["9.9.9.9", "https"]
            assert http.get("/actions/caller").json() == ["unix:", "http"]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert not place.exists()


def test_run_listens_on_a_socket_that_is_passed_to_it(project):
    with socket.create_server(("127.0.0.1", 0)) as opened:
        number, port = opened.fileno(), opened.getsockname()[1]
        with launched(["-m", "servey", "run", "--fd", str(number)], cwd=project, pass_fds=(number,)):
            assert httpx.get(f"http://127.0.0.1:{port}/actions/version", timeout=20).json() == 1


@pytest.fixture
def listener():
    """The datagram socket by which systemd is told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.settimeout(30)
        yield opened


@pytest.mark.parametrize("command", ["run", "worker"])
def test_systemd_is_told_of_start_and_stop(project, listener, redis, command):
    # Linux also has names without a file.
    place = project / "notify.sock" if command == "run" else f"@servey-{project.parent.name}-{project.name}"
    listener.bind(str(place).replace("@", "\0"))
    words = (
        ["-m", "servey", "run", "--uds", str(project / "web.sock")] if command == "run" else ["-m", "servey", "worker"]
    )
    with launched(words, cwd=project, NOTIFY_SOCKET=str(place), SERVEY_REDIS_URL=redis.url, SERVEY_DRAIN="0") as server:
        assert listener.recv(100) == b"READY=1"
        if command == "run":
            assert listens_at(project / "web.sock")
        server.process.send_signal(signal.SIGTERM)
        assert listener.recv(100) == b"STOPPING=1"
        assert server.process.wait(20) == 0
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.recv(100)


def test_a_service_starts_where_the_socket_of_systemd_is_gone(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone.sock"))
    notify(READY)
    assert "systemd does not know about READY=1" in caplog.text


def test_an_app_of_ones_own(project):
    (project / "app.py").write_text(
        "from servey import create_app\nservey_app = create_app(title='Own')\n@servey_app.get('/own')\ndef own() -> int:\n    return 5\n",
        encoding="utf-8",
    )
    for command in (["-m", "servey", "run", "app:servey_app"], ["-m", "uvicorn", "app:servey_app"]):
        port = free_port()
        with started([*command, "--port", str(port)], port, cwd=project) as server:
            assert get(server, "/own") == 5
            assert get(server, "/actions/version") == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["run", "nowhere:app"], "error: the app 'nowhere:app': module 'nowhere' does not exist"),
        (["run", "actions:nothing"], "error: the app 'actions:nothing': 'actions' has no 'nothing'"),
        (["run", "--workers", "0"], "Invalid value for '--workers'"),
        (["run", "--port", "many"], "Invalid value for '--port'"),
        (
            ["run", "--uds", "web.sock", "--port", "8000"],
            "error: --uds, --fd and an address (--host, --port) exclude each other",
        ),
        (["run", "--uds", "nowhere/web.sock"], "error: --uds nowhere/web.sock: the folder nowhere does not exist"),
        (["run", "--uds", "actions.py"], "error: --uds actions.py is a file already"),
        (["run", "--fd", "77"], "error: --fd 77 is not an open socket of this process"),
    ],
)
def test_what_can_not_be_served(project, command_line, words, error):
    code, _, errors = command_line.run(*words, cwd=project)
    assert code != 0
    assert error in errors
    assert "Traceback" not in errors


def test_production_refuses_a_guarded_action_without_a_key(project):
    (project / "actions.py").write_text(
        ACTIONS + "\n@action(access_control=ScopeAccessControl('x'))\ndef guarded() -> None: ...\n", encoding="utf-8"
    )
    done = run("-m", "servey", "run", "--port", str(free_port()), cwd=project)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: action 'guarded' (actions.py:29): is guarded and there is no key to verify tokens with; "
        "set JWT_SECRET_KEY (HS256), SERVEY_JWT_PUBLIC_KEY or SERVEY_JWKS_URL (RS256, ES256)"
    ]
    plain = run("-m", "uvicorn", "--factory", "servey.server:discovered_app", "--port", str(free_port()), cwd=project)
    assert plain.returncode != 0
    assert "there is no key to verify tokens with" in plain.stderr


def test_a_port_that_is_taken(project):
    port = free_port()
    with started(["-m", "servey", "run", "--port", str(port)], port, cwd=project):
        done = run("-m", "servey", "run", "--port", str(port), cwd=project)
    assert done.returncode != 0
    assert "is in use" in done.stderr


def test_one_secret_for_all_reloads(project):
    port = free_port()
    (project / "actions.py").write_text(
        ACTIONS
        + "\nimport os\n@action(triggers=WEB_GET)\ndef secret() -> str:\n    return os.environ['SERVEY_JWT_SECRET_KEY']\n",
        encoding="utf-8",
    )
    with started(["-m", "servey", "dev", "--port", str(port)], port, cwd=project) as server:
        first = get(server, "/actions/secret")
        text = (project / "actions.py").read_text(encoding="utf-8")
        (project / "actions.py").write_text(text.replace("return 1", "return 2"), encoding="utf-8")
        wait_until(lambda: get(server, "/actions/version") == 2, "the reload")
        assert get(server, "/actions/secret") == first
        assert len(first) >= 32


def test_without_uvicorn_it_says_what_to_install(project):
    program = "import sys\nsys.modules['uvicorn'] = None\nfrom servey.cli import run\nrun(['run'])\n"
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=20,
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == 'error: the server needs the extra "standard"; in a clone: pip install -e ".[standard]"\n'
