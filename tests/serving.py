"""Real servers for tests: processes of their own on a free port of this machine, ended by their ids."""

import json
import os
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

import pytest

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
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SERVEY_", "SERVER_", "JWT_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def run(*words: str, cwd: Path | str = ROOT, timeout: float = 30, **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs `python WORDS` to its end."""
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=timeout, check=False
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
    import tempfile

    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT / cwd,
            env=environment(**env),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            wait_for_port(port, process, Path(log.name))
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
            raise AssertionError(f"the server ended with {process.returncode}:\n{log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"the server did not listen within {DEADLINE_SECONDS} s:\n{log.read_text()}")


def wait_until(happened: "object", what: str, within: float = DEADLINE_SECONDS) -> None:
    """Waits for something that becomes true by itself; fails when it does not."""
    assert callable(happened)
    end = time.monotonic() + within
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {within} s")
        time.sleep(0.02)


class RedisServer:
    """A Redis of this machine, whose every change is in its append-only file before its client hears of it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "everysec", "--logfile", str(self.folder / "redis.log")]
        self._process = subprocess.Popen(["redis-server", *words], start_new_session=True)
        wait_until(lambda: self.command("PING") == b"+PONG\r\n", "Redis' answer")

    def command(self, *words: str) -> bytes:
        """The first bytes of the answer to one command; none while it is down."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(" ".join(words).encode() + b"\r\n")
                return connection.recv(65536)
        except OSError:
            return b""

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
def redis_server() -> Iterator[RedisServer]:
    """A Redis on a free port, with a folder of its own; skips the test where there is no redis-server."""
    import tempfile

    if shutil.which("redis-server") is None:
        pytest.skip("skipped: redis-server is not installed (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.thaw()
            server.stop(signal.SIGKILL)


PROCESSES = """
import json, os, sys, tempfile
import servey.app, servey.cli, servey.testing

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
            text=True,
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
