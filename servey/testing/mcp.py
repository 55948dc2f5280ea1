"""Run an example as a tool call by the official client of MCP, which also checks the result against the output schema."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

from servey.app import Servey
from servey.core.access import Authorization
from servey.core.actions import Example
from servey.mcp.kinds.tools import RESULT, Tool
from servey.testing.client import token_for
from servey.testing.outcomes import Outcome, body_of, caller_of, plain_params


def has_client() -> bool:
    """Whether the official client is installed."""
    return importlib.util.find_spec("mcp") is not None


def run_tool(app: Servey, tool: Tool, example: Example, authorization: Authorization | None) -> Outcome:
    """Run the example as a tool call, inside the app's lifespan."""
    import httpx2
    from mcp import Client, MCPError
    from mcp.client.streamable_http import streamable_http_client

    caller = caller_of(app, tool.action, authorization)
    headers = {} if caller is None else {"Authorization": f"Bearer {token_for(app, caller)}"}
    url = f"http://testserver{app.runtime.settings.mcp_path}"

    async def call() -> Any:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), headers=headers) as http:
            async with Client(streamable_http_client(url, http_client=http)) as client:
                return await client.call_tool(tool.name, plain_params(example))

    async def call_inside_lifespan() -> Any:
        async with app.router.lifespan_context(app):
            try:
                return await call()
            except (MCPError, BaseExceptionGroup) as raised:
                return raised

    result = asyncio.run(call_inside_lifespan())
    if isinstance(result, BaseException):
        error: Any = result
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, MCPError):
            raise result
        return Outcome(error=(error.error.data or {}).get("code"), detail=error.error.message)
    text = getattr(result.content[0], "text", None) if result.content else None
    if result.is_error:
        return Outcome(error=str(text).rpartition(" (")[2].removesuffix(")"), detail=text)
    if result.structured_content is None:
        return Outcome(None if text is None else body_of(text.encode()))
    return Outcome(result.structured_content[RESULT] if tool.wraps else result.structured_content)
