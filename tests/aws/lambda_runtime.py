"""Lambda's own runtime client with a local Runtime API: cold starts, freezing, time limits, sizes.

Source: Lambda developer guide, "Using the Lambda runtime API" (2018-06-01), and its quotas.
"""

import http.client
import http.server
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGEST_BYTES = 6 * 1024 * 1024
INIT_SECONDS = 10


@dataclass
class Invocation:
    """One invocation: ``error`` is None, or the type of the error that its caller sees. Units: seconds."""

    id: str
    payload: Any = None
    error: str | None = None
    cold: bool = False
    init_seconds: float = 0.0
    seconds: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)


class LambdaFunction:
    """A function whose process is frozen between invocations, like in Lambda."""

    def __init__(
        self,
        python: Path,
        root: Path,
        handler: str,
        *,
        timeout: float = 29,
        init: float = INIT_SECONDS,
        command: Sequence[str] = ("-P", "-m", "awslambdaric"),
        **env: str,
    ) -> None:
        self._command = command
        self.deadline = timeout
        """The time that the function believes it has."""
        self.chunks: queue.Queue[bytes | None] = queue.Queue()
        """The chunks of streamed responses as they arrive; None ends a response."""
        self.log = tempfile.NamedTemporaryFile("w+b", suffix=".log")  # noqa: SIM115
        self._python, self._root, self._handler, self._timeout, self._env = python, root, handler, timeout, env
        self._init_seconds = init
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: queue.Queue[Invocation] = queue.Queue()
        self._events: dict[str, bytes] = {}
        self._running: Invocation | None = None
        self._idle = threading.Event()
        self._init_error: dict[str, Any] | None = None
        self._number = 0
        function = self

        class Api(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None: ...

            def do_GET(self) -> None:
                function._idle.set()
                invocation = function._waiting.get()
                function._idle.clear()
                end = int((time.time() + function.deadline) * 1000)
                self._answer(200, function._events[invocation.id], {
                    "Lambda-Runtime-Aws-Request-Id": invocation.id,
                    "Lambda-Runtime-Deadline-Ms": str(end),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:test",
                })  # fmt: skip

            def do_POST(self) -> None:
                is_stream = self.headers.get("Lambda-Runtime-Function-Response-Mode") == "streaming"
                body = self._body(function.chunks if is_stream else None)
                *_, id, what = self.path.split("/")
                if what == "error" and id == "init":
                    function._init_error = json.loads(body)
                    function._idle.set()
                    return self._answer(202, b"{}", {})
                invocation = function._running
                assert invocation is not None
                if is_stream:
                    invocation.error = self.trailers.get("Lambda-Runtime-Function-Error-Type")
                    invocation.payload = body
                    self._answer(202, b"{}", {})
                elif what == "response" and len(body) > LARGEST_BYTES:
                    invocation.error = "Function.ResponseSizeTooLarge"
                    self._answer(413, b"{}", {})
                else:
                    invocation.payload = json.loads(body)
                    invocation.error = invocation.payload["errorType"] if what == "error" else None
                    self._answer(202, b"{}", {})
                invocation.done.set()

            def _body(self, chunks: "queue.Queue[bytes | None] | None" = None) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                    if chunks is not None:
                        chunks.put(parts[-1])
                self.trailers = http.client.parse_headers(self.rfile)
                if chunks is not None:
                    chunks.put(None)
                return b"".join(parts)

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *args: None  # type: ignore[method-assign]  # a killed process leaves mid-request
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "LambdaFunction":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._server.shutdown()
        self._server.server_close()
        self.log.close()

    def end(self) -> None:
        """Stop the process, so that the next invocation is a cold start."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def invoke(self, event: Any) -> Invocation:
        self._number += 1
        invocation = Invocation(f"request-{self._number}")
        if self._process is None or self._process.poll() is not None:
            self._start(invocation)
            if invocation.error is not None:
                return invocation
        assert self._process is not None
        self._events[invocation.id] = json.dumps(event).encode()
        self._running = invocation
        os.killpg(self._process.pid, signal.SIGCONT)
        begun = time.monotonic()
        self._waiting.put(invocation)
        while not invocation.done.wait(0.05):
            if time.monotonic() - begun > self._timeout:
                invocation.error = "Sandbox.Timedout"
            elif self._process.poll() is not None:
                invocation.error = "Runtime.ExitError"
            if invocation.error is not None:
                self.end()
                break
        invocation.seconds = time.monotonic() - begun
        if self._process is not None:
            self._idle.wait(5)
            os.killpg(self._process.pid, signal.SIGSTOP)
        return invocation

    def said(self) -> str:
        """Return the function's log so far."""
        return Path(self.log.name).read_text(encoding="utf-8", errors="replace")

    def cpu_seconds(self) -> float:
        """End the process and return the CPU time that it has used, which hardly depends on the load of the machine."""
        process, self._process = self._process, None
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def _start(self, invocation: Invocation) -> None:
        self._idle.clear()
        self._init_error = None
        self._waiting = queue.Queue()
        env = {
            "PATH": "/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "HOME": tempfile.gettempdir(),
            "LAMBDA_TASK_ROOT": str(self._root),
            "_HANDLER": self._handler,
            "AWS_LAMBDA_FUNCTION_NAME": "test",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_address[1]}",
            "PYTHONPATH": str(self._root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            **self._env,
        }
        begun = time.monotonic()
        self._process = subprocess.Popen(
            [str(self._python), *self._command, self._handler],
            cwd=self._root,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        invocation.cold = True
        while not self._idle.wait(0.005):
            if self._process.poll() is not None or time.monotonic() - begun > self._init_seconds:
                break
        invocation.init_seconds = time.monotonic() - begun
        if self._init_error is not None or not self._idle.is_set():
            invocation.error = "Runtime.InitError"
            invocation.payload = self._init_error
            self.end()
