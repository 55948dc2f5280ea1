"""A runtime of a Lambda function whose URL streams: the items of a response arrive one by one.

AWS's runtime client for Python, `awslambdaric`, sends every response as a whole. The script that AWS_LAMBDA_EXEC_WRAPPER
names starts this runtime in its place: ``python -m servey.aws.streaming``. Events that are no requests to the function's
URL get the same answers as from `awslambdaric`.
Source: Lambda developer guide, "Using the Lambda runtime API" and "Building a custom runtime", "Response streaming".
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any, NoReturn

from pydantic_core import to_json
from starlette.types import Message

from servey.aws.dispatch import LambdaHandler

logger: logging.Logger = logging.getLogger("servey")

_PATH = "/2018-06-01/runtime"
_ERROR_TYPE, _ERROR_BODY = "Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"
_END_OF_METADATA = b"\0" * 8


@dataclass(frozen=True)
class Invocation:
    """One invocation; handlers get it as Lambda's context. Units: ``deadline`` in milliseconds since 1970."""

    event: bytes
    aws_request_id: str
    invoked_function_arn: str
    deadline: int
    function_name: str = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    function_version: str = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
    memory_limit_in_mb: str = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    log_group_name: str = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
    log_stream_name: str = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until Lambda ends the function."""
        return max(0, self.deadline - int(time.time() * 1000))


class RuntimeApi:
    """Lambda's Runtime API at an address ``host:port``."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection = HTTPConnection(address)

    def next(self) -> Invocation:
        """Wait for the next invocation; Lambda freezes the process meanwhile."""
        headers, body = self._ask("GET", "/invocation/next")
        # The name and the place where the X-Ray SDK looks for it.
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("Lambda-Runtime-Trace-Id") or ""
        return Invocation(
            body,
            headers["Lambda-Runtime-Aws-Request-Id"],
            headers.get("Lambda-Runtime-Invoked-Function-Arn") or "",
            int(headers["Lambda-Runtime-Deadline-Ms"]),
        )

    def respond(self, invocation: Invocation, body: bytes) -> None:
        """Send a response as a whole."""
        self._ask("POST", f"/invocation/{invocation.aws_request_id}/response", body)

    def fail(self, invocation: Invocation | None, error: BaseException) -> None:
        """Report an error of an invocation, or without one of the start."""
        where = "/init/error" if invocation is None else f"/invocation/{invocation.aws_request_id}/error"
        self._ask("POST", where, to_json(error_fields(error)), {_ERROR_TYPE: type(error).__name__})

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPMessage, bytes]:
        self._connection.request(method, _PATH + path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            logger.error("Lambda's Runtime API refused %s: %s %s", path, answer.status, content[:200])
        return answer.headers, content


class StreamedResponse:
    """Sends the ASGI messages of one response to the Runtime API, each chunk at once."""

    def __init__(self, address: str, invocation: Invocation) -> None:
        self._address = address
        self._id = invocation.aws_request_id
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def is_open(self) -> bool:
        """Whether the response has started and has not ended."""
        return self._writer is not None

    async def send(self, message: Message) -> None:
        """Send one message. Errors: OSError."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message["type"] == "http.response.body" and self._writer is not None:
            if message.get("body"):
                await self._chunk(message["body"])
            if not message.get("more_body"):
                await self.end()

    async def _start(self, message: Message) -> None:
        host, _, port = self._address.partition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port or 80))
        lines = (
            f"POST {_PATH}/invocation/{self._id}/response HTTP/1.1",
            f"Host: {self._address}",
            "Content-Type: application/vnd.awslambda.http-integration-response",
            "Lambda-Runtime-Function-Response-Mode: streaming",
            "Transfer-Encoding: chunked",
            f"Trailer: {_ERROR_TYPE}, {_ERROR_BODY}",
        )
        self._writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        await self._chunk(to_json(_metadata(message)) + _END_OF_METADATA)

    async def _chunk(self, body: bytes) -> None:
        assert self._writer is not None
        self._writer.write(b"%x\r\n%b\r\n" % (len(body), body))
        await self._writer.drain()

    async def end(self, error: BaseException | None = None) -> None:
        """End the response; with an error, the client sees that it is not complete."""
        assert self._writer is not None
        assert self._reader is not None
        writer, self._writer = self._writer, None
        trailers = b""
        if error is not None:
            body = b64encode(to_json(error_fields(error))).decode()
            trailers = f"{_ERROR_TYPE}: {type(error).__name__}\r\n{_ERROR_BODY}: {body}\r\n".encode()
        try:
            writer.write(b"0\r\n%b\r\n" % trailers)
            await writer.drain()
            status = (await self._reader.readline()).split()[1:2]
            if status[:1] and not status[0].startswith(b"2"):
                logger.error("Lambda's Runtime API refused a streamed response: %s", status[0].decode("latin-1"))
        finally:
            writer.close()


def _metadata(start: Message) -> dict[str, Any]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in start.get("headers", ()):
        key, text = name.decode("latin-1").lower(), value.decode()
        if key == "set-cookie":
            cookies.append(text)
        elif key not in ("connection", "transfer-encoding"):
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return {"statusCode": start["status"], "headers": headers, "cookies": cookies}


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return what Lambda shows of an error to who invokes the function."""
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def serve_one(api: RuntimeApi, handler: Callable[[Any, Any], Any]) -> None:
    """Answer the next invocation."""
    invocation = api.next()
    try:
        event = json.loads(invocation.event)
        if isinstance(handler, LambdaHandler) and is_of_function_url(event):
            handler.stream(event, invocation, StreamedResponse(api.address, invocation))
            return
        body = to_json(handler(event, invocation))
    except Exception as error:
        traceback.print_exc()
        api.fail(invocation, error)
    else:
        api.respond(invocation, body)


def is_of_function_url(event: Any) -> bool:
    """Whether an event is a request to a Function URL: no other event here may get a streamed response."""
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and ".lambda-url." in str(context.get("domainName"))


def main() -> NoReturn:
    """Import the handler that _HANDLER names, and answer invocations until Lambda ends the process."""
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        module, _, name = os.environ["_HANDLER"].rpartition(".")
        handler = getattr(importlib.import_module(module.replace("/", ".")), name)
    except BaseException as error:
        traceback.print_exc()
        api.fail(None, error)
        sys.exit(1)
    if isinstance(handler, LambdaHandler) and not handler.runtime.settings.logs_json:
        logging.basicConfig(level=handler.runtime.settings.log_level, stream=sys.stderr)
    while True:
        serve_one(api, handler)


if __name__ == "__main__":
    main()
