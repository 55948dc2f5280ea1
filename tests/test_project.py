"""One app for every command: by name, by app.py, or by the found actions; with the lifespan of its user."""

import os
import socket
import subprocess
import sys
import time

import pytest

from tests.serving import environment, free_port, run

FILES = {
    "actions.py": """
from servey import WEB_GET, action
import pool

@action(triggers=WEB_GET)
async def work() -> str:
    return pool.state
""",
    "pool.py": "state = 'closed'\n",
    "app.py": """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from servey import Servey
import pool

@asynccontextmanager
async def lifespan(app):
    pool.state = "open"
    yield
    pool.state = "ended"

@asynccontextmanager
async def with_mounted(app):
    async with mounted.running():
        pool.state = "mounted"
        yield

installed = FastAPI(lifespan=lifespan)
Servey().install(installed, prefix="/servey")
servey_app = Servey(lifespan=lifespan)
mounted = Servey()
host = FastAPI(lifespan=with_mounted)
host.mount("/servey", mounted)
bare = FastAPI()
""",
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "variables", "result"),
    [
        ([], {}, "open"),
        (["--app", "app:installed"], {}, "open"),
        ([], {"SERVEY_APP": "app:host"}, "mounted"),
        (["--app", "app:servey_app"], {"SERVEY_APP": "app:host"}, "open"),
    ],
)
def test_a_call_runs_inside_the_lifespan(project, words, variables, result):
    done = run("-m", "servey", "call", "work", *words, cwd=project, **variables)
    assert (done.returncode, done.stdout) == (0, f'"{result}"\n'), done.stderr


@pytest.mark.parametrize("place", ["app:installed", "app:host"])
def test_the_table_of_actions_shows_the_paths_in_the_host(project, place):
    done = run("-m", "servey", "actions", "--app", place, cwd=project)
    assert "GET /servey/actions/work " in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("place", "path", "result"),
    [
        ("", "/actions/work", "open"),
        ("app:installed", "/servey/actions/work", "open"),
        ("app:host", "/servey/actions/work", "mounted"),
    ],
)
def test_lambda_serves_the_same_app(project, place, path, result):
    request = {"version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {}, "requestContext": {"http": {
        "method": "GET", "path": path, "sourceIp": "127.0.0.1"}, "stage": "$default"}}  # fmt: skip
    program = f"from servey.aws import handler; print(handler({request!r}, None)['body'])"
    done = run("-c", program, cwd=project, SERVEY_APP=place, SERVEY_LOG_FORMAT="text", SERVEY_ENV="dev")
    assert (done.returncode, done.stdout) == (0, f'"{result}"\n'), done.stderr


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        (
            "app:nothing",
            "the app 'app:nothing': 'app' has no 'nothing'; it has installed, servey_app, mounted, host, bare",
        ),
        ("nowhere:app", "the app 'nowhere:app': module 'nowhere' does not exist"),
        ("app", "the app 'app' is not valid; write it as module:name, e.g. app:servey_app"),
        ("pool:state", "the app 'pool:state' is 'closed', not an ASGI app"),
        ("app:bare", "the app is FastAPI without Servey; call Servey(...).install(app), or mount a Servey app"),
    ],
)
def test_a_place_that_is_none(project, place, problem):
    done = run("-m", "servey", "actions", "--app", place, cwd=project)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {problem}")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_told_before_anything_serves(project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in ("dev", "run"):
            done = run("-m", "servey", command, "--port", str(port), cwd=project)
            assert done.returncode == 1
            assert f"error: port {port} of 127.0.0.1 is in use" in done.stderr
            assert "Serving on" not in done.stderr


HOSTED = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from servey import WEB_POST, Servey, action

@action(triggers=WEB_POST)
async def work() -> int:
    return 1

api = FastAPI()
servey = Servey(actions=[work])
servey.install(api, prefix="/servey")
with TestClient(api) as http:
    assert http.post("/servey/actions/work").json() == 1
    settings = servey.runtime.settings
    print(settings.redis_url, settings.jwt_secret_key, settings.port, settings.log_level, settings.cors_allowed_origins)
"""


def test_a_host_keeps_its_own_variables(tmp_path):
    (tmp_path / "hosted.py").write_text(HOSTED, encoding="utf-8")
    own = {
        "REDIS_URL": "rediss+sentinel://x",
        "JWT_SECRET_KEY": "short",
        "PORT": "http",
        "LOGLEVEL": "TRACE",
        "CORS_ALLOWED_ORIGINS": "*",
        "SERVER_HOST": "https://x.example",
        "SERVER_DEBUG": "maybe",
    }
    done = run("-W", "ignore", "hosted.py", cwd=tmp_path, **own)
    assert done.stdout == "None None 8000 INFO ()\n", done.stderr
    done = run("-m", "servey", "actions", cwd=tmp_path, **own)
    assert done.returncode == 1
    assert "setting SERVEY_PORT" in done.stderr


@pytest.mark.slow
def test_several_processes_without_redis_are_told(tmp_path):
    (tmp_path / "app.py").write_text("from servey import create_app\nservey_app = create_app()\n", encoding="utf-8")
    words = [sys.executable, "-m", "uvicorn", "app:servey_app", "--port", str(free_port()), "--workers", "2"]
    log = tmp_path / "log"
    with log.open("w", encoding="utf-8") as out:
        server = subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=out, stderr=out)
    try:
        until = time.monotonic() + 60
        while "2 processes serve this app without Redis" not in log.read_text(encoding="utf-8"):
            assert server.poll() is None
            assert time.monotonic() < until, log.read_text(encoding="utf-8")
            os.sched_yield()
    finally:
        server.terminate()
        server.wait(30)
