"""Clients of an app in this process: the official one, as an agent uses it, and one that can disconnect."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}


@asynccontextmanager
async def agent(
    app: Any, *, token: str | None = None, mode: str = "auto", path: str = "/mcp", answer: Any = None, **headers: str
) -> AsyncIterator[Client]:
    """A connected client; the app's lifespan has to run. ``answer`` answers its questions."""
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, headers=headers, base_url="http://testserver") as http:
        endpoint = streamable_http_client(f"http://testserver{path}", http_client=http)
        async with Client(endpoint, mode=mode, elicitation_callback=answer) as client:
            yield client


def code_of(failure: Any) -> str:
    """The code of an error: of a refused request, or of a call that failed."""
    if isinstance(failure, BaseExceptionGroup):
        (failure,) = failure.exceptions
        return code_of(failure)
    if isinstance(failure, MCPError):
        return str(failure.error.data["code"])
    (content,) = failure.content
    return str(content.text.rpartition(" (")[2].removesuffix(")"))


class Call:
    """One request on the wire, whose client can disconnect."""

    def __init__(
        self,
        app: Any,
        method: str,
        params: Any,
        meta: Any = (),
        *,
        version: str = MODERN,
        token: str = "",
        accept: str = "text/event-stream, */*",
    ):
        self.gone = asyncio.Event()
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()
        made = META if version == MODERN else {}
        self._body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": made | dict(meta)}}
        headers = {"accept": accept, "content-type": "application/json", "host": "testserver"}
        headers |= {"mcp-protocol-version": version, "mcp-method": method}
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        headers |= {"mcp-name": params["name"]} if "name" in params else {}
        scope = {"type": "http", "method": "POST", "path": "/mcp", "raw_path": b"/mcp", "query_string": b""}
        scope |= {"headers": [(name.encode(), value.encode()) for name, value in headers.items()], "scheme": "http"}
        scope |= {"server": ("testserver", 80), "client": ("127.0.0.1", 1), "root_path": "", "http_version": "1.1"}
        self.task = asyncio.create_task(app({**scope, "asgi": {"version": "3.0"}}, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._body:
            body, self._body = json.dumps(self._body).encode(), {}
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self._sent.put_nowait(message["body"])

    async def body(self) -> bytes:
        """The next part of the response."""
        async with asyncio.timeout(5):
            return await self._sent.get()

    async def message(self) -> Any:
        chunk = await self.body()
        begin = b"event: message\ndata: "
        assert chunk.startswith(begin) and chunk.endswith(b"\n\n")
        return json.loads(chunk.removeprefix(begin))
