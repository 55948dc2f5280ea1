"""How `servey run` ends, what it refuses, how it meets a Redis that is wrong or late, what it logs."""

import asyncio
import json
import os
import signal
import socket
import ssl
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.serving import free_port, redis_server, run, started, wait_until

ACTIONS = """
import asyncio
import logging
import os
from servey import *

begun = 0

@action(triggers=WEB_GET)
async def pid() -> int:
    return os.getpid()

@action(triggers=WEB_GET)
async def slow(seconds: float) -> str:
    global begun
    begun += 1
    await asyncio.sleep(seconds)
    return "done"

@action(triggers=WEB_GET)
async def slow_ones() -> int:
    return begun

@action(triggers=WEB_POST)
async def length(text: str) -> int:
    logging.getLogger("shop").warning("measuring")
    return len(text)

@action(triggers=WEB_POST)
async def numbers(items: list[int]) -> int:
    return len(items)
"""
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    return tmp_path


@pytest.fixture
def schedule(project):
    (project / "actions.py").write_text(
        ACTIONS + "\n@action(triggers=FixedRateTrigger(3600))\nasync def tick() -> None: ...\n", encoding="utf-8"
    )
    return project


def served(project, port, *words, **env):
    return started(["-m", "servey", "run", "--port", str(port), *words], port, cwd=project, **env)


def lines(server):
    return [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


def status(server, path):
    try:
        return httpx.get(server.url + path, timeout=5).status_code
    except httpx.TransportError:
        return None


# ------------------------------------------------------------------------------------------------------------ the end


def test_it_drains_before_it_ends(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="1") as server, httpx.Client(base_url=server.url) as kept:
        answers = []
        slow = threading.Thread(target=lambda: answers.append(httpx.get(f"{server.url}/actions/slow?seconds=2")))
        slow.start()
        wait_until(lambda: kept.get("/actions/slow-ones").json() == 1, "the slow call")
        assert "connection" not in kept.get("/health/ready").headers
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: kept.get("/health/ready").status_code == 503, "the drain")
        answer = kept.get("/actions/pid")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert kept.get("/health/ready").json() == {"status": "stopping"}
        assert kept.get("/health/live").status_code == 200
        slow.join()
        assert server.process.wait(10) == 0
        assert answers[0].json() == "done"
        assert 1 <= time.monotonic() - begun < 4


def test_a_second_signal_does_not_wait(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="30") as server:
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: status(server, "/health/ready") == 503, "the drain")
        assert server.end() < 3


def test_what_takes_longer_than_the_grace_is_ended(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="0", SERVEY_GRACE="1") as server:
        ended = []
        slow = threading.Thread(target=lambda: ended.append(status(server, "/actions/slow?seconds=30")))
        slow.start()
        wait_until(lambda: httpx.get(f"{server.url}/actions/slow-ones").json() == 1, "the slow call")
        assert server.end() < 4
        slow.join()
        assert ended != [200]


@pytest.mark.slow
@pytest.mark.drill
@pytest.mark.timeout(150)
def test_no_request_is_lost_while_workers_are_replaced(project, redis):
    """SIGHUP replaces every worker process, one by one, under load."""
    port = free_port()
    with served(project, port, "--workers", "2", SERVEY_REDIS_URL=redis.url, SERVEY_DRAIN="1") as server:
        wait_until(lambda: status(server, "/actions/pid") == 200, "an answer")
        stop, failed, pids = threading.Event(), [], set()

        def load():
            # A connection per request: one that is kept stays with its worker, and a worker that nobody reaches
            # would never be seen.
            while not stop.is_set():
                try:
                    answer = httpx.get(f"{server.url}/actions/pid", timeout=10)
                    pids.add(answer.json())
                    if answer.status_code != 200:
                        failed.append(answer.text)
                except Exception as error:
                    failed.append(repr(error))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(pids) == 2, "both workers")
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(pids) == 4, "two new workers", within=100)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failed == []
        assert server.end() < 10


def test_a_worker_that_is_killed_is_replaced(project, redis):
    port = free_port()
    with served(project, port, "--workers", "2", SERVEY_REDIS_URL=redis.url, SERVEY_DRAIN="0") as server:
        wait_until(lambda: status(server, "/actions/pid") == 200, "an answer")
        pids = set()
        wait_until(lambda: len(pids.add(httpx.get(f"{server.url}/actions/pid").json()) or pids) == 2, "both workers")
        os.kill(next(iter(pids)), signal.SIGKILL)
        wait_until(lambda: len(pids.add(httpx.get(f"{server.url}/actions/pid").json()) or pids) == 3, "a new worker")
        assert server.end() < 10


# --------------------------------------------------------------------------------------------------------- its limits


def test_a_client_that_is_slow_with_its_headers_is_cut_off(project):
    port = free_port()
    with served(project, port, SERVEY_BODY_TIMEOUT="1", SERVEY_DRAIN="0") as server:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as mute:
            mute.sendall(b"GET /actions/pid HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            begun = time.monotonic()
            assert mute.recv(100) == b""
            assert time.monotonic() - begun < 5
        with socket.create_connection(("127.0.0.1", port), timeout=10) as kept:
            kept.sendall(b"GET /actions/pid HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = kept.recv(4096)
            while not answer.endswith(str(server.process.pid).encode()):
                answer += kept.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            kept.settimeout(3)
            with pytest.raises(TimeoutError):
                kept.recv(100)  # a connection that rests between requests is kept
        assert status(server, "/actions/pid") == 200


def test_bodies_have_their_limits(project):
    port = free_port()
    with served(project, port, SERVEY_BODY_TIMEOUT="1", SERVEY_DRAIN="0") as server:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
            slow.sendall(b"POST /actions/length HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
            slow.sendall(b'Content-Length: 100\r\n\r\n{"text": ')
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")
        assert httpx.post(f"{server.url}/actions/length", content=b"x" * (1 << 21)).status_code == 413
        wrong = httpx.post(f"{server.url}/actions/numbers", json={"items": ["x"] * 200_000}, timeout=10)
        assert wrong.status_code == 422
        assert len(wrong.content) < 65536


def test_over_the_number_of_calls_in_flight_it_says_when_to_come_back(project):
    port = free_port()
    with served(project, port, SERVEY_MAX_IN_FLIGHT="1", SERVEY_DRAIN="0") as server:
        slow = threading.Thread(target=lambda: status(server, "/actions/slow?seconds=2"))
        slow.start()
        wait_until(lambda: status(server, "/actions/pid") == 503, "the refusal")
        refused = httpx.get(f"{server.url}/actions/pid")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert status(server, "/health/live") == 200
        slow.join()
        assert status(server, "/actions/pid") == 200


# ------------------------------------------------------------------------------------------------------------ its log


def test_its_log_is_json_without_anything_secret(project):
    port = free_port()
    with served(project, port, SERVEY_DRAIN="0") as server:
        headers = {"X-Request-ID": "r1", "Authorization": "Bearer CANARY-token", "Cookie": "a=CANARY-cookie"}
        httpx.post(
            f"{server.url}/actions/length?q=CANARY-query%0aFORGED", json={"text": "CANARY-body"}, headers=headers
        )
        status(server, "/nowhere%0a%7b%22level%22:%22FORGED%22%7d")
        assert server.end() < 4
        text = server.log.read_text(encoding="utf-8")
        told = lines(server)
        assert len(told) == len(text.splitlines())
    assert "CANARY" not in text
    of_call = {line["logger"]: line for line in told if line.get("request_id") == "r1"}
    assert of_call["shop"]["msg"] == "measuring"
    assert of_call["servey.access"]["route"] == "/actions/length"
    assert of_call["servey.access"]["status"] == 200
    assert of_call["servey.access"]["duration_ms"] > 0
    assert [line["status"] for line in told if line["logger"] == "servey.access"] == [200, 404]


def test_calls_need_not_be_logged(project):
    port = free_port()
    with served(project, port, SERVEY_ACCESS_LOG="0", SERVEY_DRAIN="0") as server:
        status(server, "/actions/pid")
        server.end()
        assert [line for line in lines(server) if line["logger"] == "servey.access"] == []


def test_metrics_are_served_where_asked_for(project):
    port = free_port()
    with served(project, port, SERVEY_METRICS="1", SERVEY_DRAIN="0") as server:
        status(server, "/actions/pid")
        text = httpx.get(f"{server.url}/metrics").text
    assert 'servey_calls_total{action="pid",transport="rest",status="200"} 1' in text.splitlines()
    assert "servey_calls_in_flight 0" in text.splitlines()


# ---------------------------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("words", "env", "problem"),
    [
        ([], {"SERVEY_ENV": "dev"}, "SERVEY_ENV is dev, and `servey run` is for production"),
        ([], {"JWT_SECRET_KEY": "a" * 40}, "JWT_SECRET_KEY is easy to guess"),
        ([], {"JWT_SECRET_KEY": "short"}, "JWT_SECRET_KEY"),
        ([], {"SERVEY_TRUSTED_PROXIES": "*"}, "SERVEY_TRUSTED_PROXIES trusts everyone"),
        (
            [],
            {"SERVEY_REDIS_URL": "redis://redis:6379"},
            "Redis is reached over the network without a password or",
        ),
        (["--workers", "2"], {}, "--workers 2 needs Redis"),
    ],
)
def test_it_refuses_settings_that_are_not_safe(project, words, env, problem):
    done = run("-m", "servey", "run", "--port", str(free_port()), *words, cwd=project, **env)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert problem in line
    assert not any(value in line for name, value in env.items() if "SECRET" in name)


def test_it_tells_what_is_relaxed(schedule):
    port = free_port()
    env = {"SERVEY_DOCS": "1", "SERVEY_JWT_REQUIRE_EXP": "0", "JWT_SECRET_KEY": SECRET, "SERVEY_DRAIN": "0"}
    with served(schedule, port, **env) as server:
        told = [line for line in server.log.read_text(encoding="utf-8").splitlines() if line.startswith("warning: ")]
    assert told == [
        "warning: the documentation pages are served (SERVEY_DOCS)",
        "warning: tokens without an expiry are accepted (SERVEY_JWT_REQUIRE_EXP)",
        "warning: jobs and schedules run in this process only, and waiting jobs are lost when it ends; set SERVEY_REDIS_URL",
    ]


# -------------------------------------------------------------------------------------------------------------- Redis


@pytest.mark.parametrize(
    ("setup", "url", "problem"),
    [
        ((), "redis://127.0.0.1:{port}/99", "Redis refuses the connection: DB index is out of range"),
        (("CONFIG", "SET", "requirepass", "right"), "redis://:CANARY@127.0.0.1:{port}", "Redis refuses the connection"),
        (("CONFIG", "SET", "requirepass", "right"), "redis://127.0.0.1:{port}", "Redis refuses the connection"),
        (
            ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
            "redis://127.0.0.1:{port}",
            "maxmemory-policy noeviction",
        ),
    ],
)
def test_a_redis_that_is_wrong_stops_the_start(project, setup, url, problem):
    with redis_server() as own:
        if "maxmemory-policy" in setup:
            own.command("CONFIG", "SET", "maxmemory", "100mb")
        if setup:
            own.command(*setup)
        done = run(
            *("-m", "servey", "run", "--port", str(free_port())),
            cwd=project,
            SERVEY_REDIS_URL=url.format(port=own.port),
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert problem in line
    assert "CANARY" not in line


def test_redis_by_tls_with_a_password_and_a_database(project, certificate):
    with tls_redis(certificate, "s3cret/@") as port:
        url = f"rediss://127.0.0.1:{port}/3"
        distrusted = run("-m", "servey", "run", cwd=project, SERVEY_REDIS_URL=url)
        assert distrusted.stderr.startswith("error: SERVEY_REDIS_URL: the TLS connection to Redis fails: ")
        trusted = {"SERVEY_REDIS_URL": f"{url}?ssl_ca_certs={certificate[0]}"}
        refused = run("-m", "servey", "run", cwd=project, **trusted)
        assert refused.stderr.startswith("error: SERVEY_REDIS_URL: Redis refuses the connection: ")
        (project / "password").write_text("s3cret/@\n", encoding="utf-8")
        trusted["SERVEY_REDIS_PASSWORD_FILE"] = str(project / "password")
        own = free_port()
        with served(project, own, SERVEY_DRAIN="0", **trusted) as server:
            assert status(server, "/health/ready") == 200
            assert "Redis does not answer" not in server.log.read_text(encoding="utf-8")


@pytest.fixture
def certificate(tmp_path):
    """A certificate of 127.0.0.1 that only we trust, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "redis.crt", tmp_path / "redis.key"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@contextmanager
def tls_redis(certificate, password):
    """The port of a TLS endpoint in front of a Redis that wants a password; not every Redis is built with TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    with redis_server() as own, tls_endpoint(context, own.port) as port:
        own.command("CONFIG", "SET", "requirepass", password)
        yield port


@contextmanager
def tls_endpoint(context, target):
    """Forward what arrives over TLS to a port of this machine; yields the port it listens on."""

    async def copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other end is closed
        writer.close()

    async def forward(reader, writer):
        plain = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(copy(reader, plain[1]), copy(plain[0], writer))

    async def listen():
        server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
        ready.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), asyncio.current_task()))
        async with server:
            await server.serve_forever()

    def run_until_cancelled():
        with suppress(asyncio.CancelledError):
            asyncio.run(listen())

    ready = Future()
    thread = threading.Thread(target=run_until_cancelled)
    thread.start()
    port, loop, task = ready.result(10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)


def test_a_redis_that_is_late_is_waited_for(project):
    with redis_server() as own:
        own.stop()
        port = free_port()
        with served(project, port, SERVEY_REDIS_URL=own.url, SERVEY_DRAIN="0") as server:
            assert status(server, "/actions/pid") == 200
            assert "Redis does not answer yet" in server.log.read_text(encoding="utf-8")
            own.start()
            wait_until(lambda: "Redis answers" in server.log.read_text(encoding="utf-8"), "Redis")
