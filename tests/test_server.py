"""The servers behind `servey dev` and `servey run`: reload, streams at the end, refusals."""

import signal
import subprocess
import sys

import httpx
import pytest

from tests.serving import environment, free_port, run, started, wait_until

ACTIONS = """
import asyncio
from collections.abc import AsyncIterator
from servey import *

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
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS)
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
        (project / "actions.py").write_text(ACTIONS.replace("return 1", "return 2"))
        wait_until(lambda: get(server, "/actions/version") == 2, "the reload")
        (project / "actions.py").write_text(ACTIONS.replace("return 1", "return nothing to see"))
        wait_until(
            lambda: "error: module 'actions' can not be imported (actions.py:" in server.log.read_text(), "the problem"
        )
        (project / "actions.py").write_text(ACTIONS.replace("return 1", "return 3"))
        wait_until(lambda: get(server, "/actions/version") == 3, "the reload after a problem")
        seen = server.log.read_text().count("Started server process")
        (project / "templates" / "page.j2").write_text("{{ model }}")
        wait_until(lambda: server.log.read_text().count("Started server process") > seen, "the reload for a template")
        log = server.log.read_text()
        assert "Traceback" not in log
        assert f"Serving on http://127.0.0.1:{port}/docs" in log
        assert "No JWT_SECRET_KEY is set" in log
        assert server.end() < 5


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
        assert "Traceback" not in server.log.read_text()


def test_run_serves_for_production(project):
    port = free_port()
    with started(["-m", "servey", "run", "--port", str(port)], port, cwd=project) as server:
        assert get(server, "/actions/version") == 1
        assert get(server, "/docs") == 404
        assert get(server, "/openapi.json") == 404
        assert get(server, "/health/live") == {"status": "ok"}
        assert get(server, "/health/ready") == {"status": "ok"}


def test_an_app_of_ones_own(project):
    (project / "app.py").write_text(
        "from servey import create_app\nservey_app = create_app(title='Own')\n@servey_app.get('/own')\ndef own() -> int:\n    return 5\n"
    )
    for command in (["-m", "servey", "run", "app:servey_app"], ["-m", "uvicorn", "app:servey_app"]):
        port = free_port()
        with started([*command, "--port", str(port)], port, cwd=project) as server:
            assert get(server, "/own") == 5
            assert get(server, "/actions/version") == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["run", "nowhere:app"], 'error: Could not import module "nowhere"'),
        (["run", "actions:nothing"], 'error: Attribute "nothing" not found in module "actions"'),
        (["run", "--workers", "0"], "Invalid value for '--workers'"),
        (["run", "--port", "many"], "Invalid value for '--port'"),
    ],
)
def test_what_can_not_be_served(project, words, error):
    done = run("-m", "servey", *words, cwd=project)
    assert done.returncode != 0
    assert error in done.stderr
    assert "Traceback" not in done.stderr


def test_production_refuses_a_guarded_action_without_a_key(project):
    (project / "actions.py").write_text(
        ACTIONS + "\n@action(access_control=ScopeAccessControl('x'))\ndef guarded() -> None: ...\n"
    )
    done = run("-m", "servey", "run", "--port", str(free_port()), cwd=project)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: action 'guarded' (actions.py:19): is guarded and there is no key to verify tokens with; "
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
    assert "address already in use" in done.stderr


def test_one_secret_for_all_reloads(project):
    port = free_port()
    (project / "actions.py").write_text(
        ACTIONS
        + "\nimport os\n@action(triggers=WEB_GET)\ndef secret() -> str:\n    return os.environ['JWT_SECRET_KEY']\n"
    )
    with started(["-m", "servey", "dev", "--port", str(port)], port, cwd=project) as server:
        first = get(server, "/actions/secret")
        text = (project / "actions.py").read_text()
        (project / "actions.py").write_text(text.replace("return 1", "return 2"))
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
        text=True,
        timeout=20,
        check=False,
    )
    assert process.returncode == 1
    assert (
        process.stderr == 'error: serving needs Servey\'s extra "standard"; in a clone: pip install -e ".[standard]"\n'
    )
