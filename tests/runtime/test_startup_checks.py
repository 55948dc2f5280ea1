"""What `servey run` refuses and warns of, and a Redis that is wrong or late."""

import asyncio
import ssl
import threading
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.runtime.served import ACTIONS, served, status
from tests.serving import free_port, redis_server, run, wait_until

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def schedule(project):
    (project / "actions.py").write_text(
        ACTIONS + "\n@action(triggers=FixedRateTrigger(3600))\nasync def tick() -> None: ...\n", encoding="utf-8"
    )
    return project


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
