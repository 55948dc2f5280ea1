"""A Lambda function behind a port of this machine, as behind a Function URL, and with a queue that invokes it."""

import hashlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.aws.fakes import record
from tests.aws.gateways import Request, answer_of, function_url
from tests.aws.lambda_runtime import LambdaFunction

OWN_HEADERS = ("host", "content-length")
"""Headers that `Request` adds itself."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None: ...

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name != "content-length":
                self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def listening(handler: type[Handler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def queue(deliver: Callable[[str], None]) -> Iterator[str]:
    """Yield the URL of a queue with the API of SQS, which delivers each message once, in the background."""

    class Queue(Handler):
        def do_POST(self) -> None:
            message = json.loads(self.body())["MessageBody"]
            digest = hashlib.md5(message.encode(), usedforsecurity=False).hexdigest()
            answer = json.dumps({"MessageId": digest, "MD5OfMessageBody": digest}).encode()
            self.answer(200, {"content-type": "application/x-amz-json-1.0"}, answer)
            threading.Thread(target=deliver, args=[message], daemon=True).start()

    with listening(Queue) as url:
        yield url


@contextmanager
def deployed(python: Path, root: Path, handler: str, **env: str) -> Iterator[str]:
    """Yield the URL of a function. It answers one event after another, like one process of Lambda."""
    one = threading.Lock()

    def invoke(event: Any) -> Any:
        with one:
            done = function.invoke(event)
        assert done.error is None, f"{done.error}: {function.said()}"
        return done.payload

    class Door(Handler):
        def pass_on(self) -> None:
            sent = ((name, value) for name, value in self.headers.items() if name.lower() not in OWN_HEADERS)
            request = Request(self.command, self.path, tuple(sent), self.body())
            answer = answer_of(invoke(function_url(request)))
            self.answer(answer.status, answer.headers, answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = pass_on

    with ExitStack() as stack:
        url = stack.enter_context(queue(lambda message: invoke({"Records": [record(message, "1")]})))
        env = {**env, "AWS_ENDPOINT_URL_SQS": url, "SERVEY_QUEUE_URL": f"{url}/jobs"}
        function = stack.enter_context(LambdaFunction(python, root, handler, timeout=60, init=60, **env))
        yield stack.enter_context(listening(Door))
