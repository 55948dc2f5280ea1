"""The official client, as an agent uses it, of an app in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


@asynccontextmanager
async def agent(
    app: Any, *, token: str | None = None, mode: str = "auto", path: str = "/mcp", **headers: str
) -> AsyncIterator[Client]:
    """A connected client; the app's lifespan has to run."""
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, headers=headers, base_url="http://testserver") as http:
        async with Client(streamable_http_client(f"http://testserver{path}", http_client=http), mode=mode) as client:
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
