"""The app of the tutorial is what its pages build; its tests pass on both databases, and it runs as step 10 deploys it."""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis
import yaml

from tests.aws.tools import python_of
from tests.cluster.test_files import COMPOSE, nginx, nginx_configuration
from tests.examples.lambda_door import Handler, deployed, listening
from tests.postgres import postgresql
from tests.repo.snippets import NO_BYTECODE, Project, blocks_of
from tests.repo.test_docs import TUTORIAL
from tests.serving import (
    ROOT,
    CommandLine,
    environment,
    free_port,
    launched,
    redis_server,
    run,
    wait_for_port,
    wait_until,
)

APP = ROOT / "examples" / "tutorial"
JSON = {"Content-Type": "application/json"}
ADA = {"name": "ada", "password": "correct horse"}


@pytest.fixture
def database() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict]]]:
    """The URL of a service that receives the webhook, and what it has received."""
    received: list[dict] = []

    class Receiver(Handler):
        def do_POST(self) -> None:
            received.append(json.loads(self.body()))
            self.answer(204, {}, b"")

    with listening(Receiver) as url:
        yield url, received


def test_it_is_what_the_pages_build():
    built = {}
    for page in TUTORIAL:
        built |= {block.file_name: block.text for block in blocks_of(page) if block.file_name is not None}
    assert built.pop(".env")
    for name in built:
        assert (APP / name).read_text(encoding="utf-8") == built[name], name
    there = {str(path.relative_to(APP)) for path in APP.rglob("*") if path.suffix in (".py", ".j2", ".txt", ".yml")}
    assert there - set(built) == set()


@pytest.mark.docs
@pytest.mark.timeout(400)
def test_the_pages_run_from_the_first_to_the_last(tmp_path, monkeypatch):
    """In one folder, as a reader does: what a page shows depends on what the pages before it have left behind."""
    for name, value in NO_BYTECODE.items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(CommandLine()) as processes, contextlib.closing(Project(tmp_path, processes)) as project:
        for page in TUTORIAL:
            for block in blocks_of(page):
                project.play(block)


def check_own_tests(**env: str) -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=APP, timeout=120, **env)
    assert (done.returncode, "16 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_its_own_tests_pass():
    check_own_tests()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_its_own_tests_pass_on_postgresql(database):
    check_own_tests(DESK_TEST_DATABASE_URL=database)


def check_desk(url: str, is_delivered: Callable[[dict], bool], **env: str) -> None:
    """What a user and an agent do: a ticket is opened and closed, the page counts it, the job and the webhook follow."""
    with httpx.Client(base_url=url, timeout=30) as http:
        assert http.post("/actions/sign-up", json=ADA).status_code == 200
        done = run("-m", "servey", "call", "make_agent", "name=ada", cwd=APP, timeout=60, **env)
        assert done.returncode == 0, done.stderr
        http.headers["Authorization"] = f"Bearer {http.post('/actions/sign-in', json=ADA).json()}"
        ticket = http.post("/actions/open-ticket", json={"title": "My printer is on fire"}).json()
        for number in (2**31, 10**30):
            assert http.get(f"/tickets/{number}").status_code == 422
        for unstorable in ("a\0bc", "a\ud800bc"):
            answer = http.post("/actions/open-ticket", content=json.dumps({"title": unstorable}), headers=JSON)
            assert answer.status_code == 422, answer.text
        closed = http.post(f"/tickets/{ticket['number']}/close").json()
        assert closed == {**ticket, "is_open": False}
        assert '<span id="open">0</span> open, <span id="closed">1</span> closed' in http.get("/board").text

        def comments() -> list[dict]:
            query = f"{{ getTicket(number: {ticket['number']}) {{ comments {{ author text }} }} }}"
            return http.post("/graphql", json={"query": query}).json()["data"]["getTicket"]["comments"]

        thanks = {"author": "desk", "text": "Closed. Thank you for asking!"}
        wait_until(lambda: is_delivered(closed), "the webhook", within=30)
        wait_until(lambda: time.sleep(0.2) or comments() == [thanks], "the job that thanks", within=30)
        call = {"name": "get_ticket", "arguments": {"number": ticket["number"]}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        assert http.post("/mcp", json=message).json()["result"]["structuredContent"] == closed


def secrets(folder: Path) -> dict[str, str]:
    """The files of the service `secrets`, by the name that its command gives each."""
    _, _, _, *names = COMPOSE["services"]["secrets"]["command"]
    command = [sys.executable, str(ROOT / "docker" / "make_secrets.py"), str(folder), *names]
    subprocess.run(command, env=environment(), check=True)
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


@contextlib.contextmanager
def password_of(url: str, password: str) -> Iterator[None]:
    """Give a Redis a password for a while."""
    with redis.Redis.from_url(url) as client:
        client.config_set("requirepass", password)
        yield
        client.config_set("requirepass", "")


@contextlib.contextmanager
def nginx_before(port: int, folder: Path) -> Iterator[str]:
    """The container's nginx before one web server; yields its URL."""
    own = free_port()
    text = nginx_configuration(folder).replace("listen 8080;", f"listen 127.0.0.1:{own};")
    text = text.replace("server web:8000 resolve", f"server 127.0.0.1:{port}").replace("/dev/stdout lines", "off")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    command = [str(nginx()), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen([*command, "-g", "daemon off;"], encoding="utf-8")
    try:
        wait_for_port(own, process, folder / "error.log")
        yield f"http://127.0.0.1:{own}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_processes_of_the_compose_file_serve_it(database, webhook, tmp_path):
    """nginx, a web server, a worker and a Redis with a password, by the commands and the environment of the file."""
    desk = yaml.safe_load((APP / "desk.yml").read_text(encoding="utf-8"))["services"]
    url, received = webhook
    values = {"${DESK_DATABASE_URL}": database, "${DESK_WEBHOOK_URL}": url}
    (tmp_path / "secrets").mkdir()
    made = secrets(tmp_path / "secrets")

    def environment_of(name: str, redis_url: str) -> dict[str, str]:
        given = COMPOSE["services"][name]["environment"] | desk[name]["environment"]
        given = {key: values.get(value, value) for key, value in given.items()}
        given = {key: value.replace("/run/secrets", str(tmp_path / "secrets")) for key, value in given.items()}
        given = {key: value for key, value in given.items() if not value.startswith("${")}
        return {**given, "SERVEY_REDIS_URL": redis_url, "SERVEY_DRAIN": "0"}

    with redis_server() as cache, password_of(cache.url, made["redis_password"]), contextlib.ExitStack() as stack:
        port, status_port = free_port(), free_port()
        web, worker = environment_of("web", cache.url), environment_of("worker", cache.url)
        worker["SERVEY_WORKER_PORT"] = str(status_port)
        words = {name: COMPOSE["services"][name]["command"] for name in ("web", "worker")}
        assert all(command[0] == "servey" for command in words.values())
        server = stack.enter_context(launched(["-m", *words["web"], "--port", str(port)], port, cwd=APP, **web))
        wait_for_port(port, server.process, server.log)
        own = stack.enter_context(launched(["-m", *words["worker"]], status_port, cwd=APP, **worker))
        wait_for_port(status_port, own.process, own.log)

        def is_refused(event: dict) -> bool:  # a production server posts nothing to this machine
            return "127.0.0.1 is inside a private network" in own.log.read_text(encoding="utf-8")

        check_desk(stack.enter_context(nginx_before(port, tmp_path)), is_refused, **web)
        assert received == []


class Table(Handler):
    """DynamoDB without a single connection of a websocket, where every key of a job is new."""

    def do_POST(self) -> None:
        _, operation = self.headers["X-Amz-Target"].split(".")
        self.body()
        answer = {"Items": [], "Count": 0, "ScannedCount": 0} if operation in ("Query", "Scan") else {}
        self.answer(200, {"content-type": "application/x-amz-json-1.0"}, json.dumps(answer).encode())


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_one_lambda_function_serves_it(tmp_path, webhook):
    url, received = webhook
    env = {
        "JWT_SECRET_KEY": "a-secret-of-at-least-32-bytes-for-tests",
        "DESK_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/desk.db",
        "DESK_WEBHOOK_URL": url,
        "SERVEY_ENV": "dev",
    }
    packages = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    path = {"PYTHONPATH": f"{APP}{os.pathsep}{packages}"}
    with listening(Table) as table:
        aws = {"AWS_ENDPOINT_URL_DYNAMODB": table, "SERVEY_CONNECTION_TABLE": "desk"}
        with deployed(python_of("lambda_runtime"), APP, "servey.aws.handler", **env, **path, **aws) as function:
            check_desk(function, lambda closed: received == [closed], **env)
