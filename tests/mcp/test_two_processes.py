"""Requests of one client may go to any process: no process keeps anything of a client."""

import itertools

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.serving import serve

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class RoundRobin(httpx2.AsyncHTTPTransport):
    """Sends each request to the next of several servers, as a load balancer does."""

    def __init__(self, ports: list[int]) -> None:
        super().__init__()
        self._ports = itertools.cycle(ports)
        self.sent = dict.fromkeys(ports, 0)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        port = next(self._ports)
        self.sent[port] += 1
        request.url = request.url.copy_with(port=port)
        return await super().handle_async_request(request)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_no_call_is_lost_between_two_processes(mode):
    app = "servey.server:discovered_app"
    with serve(app, factory=True, cwd="examples/tour") as one, serve(app, factory=True, cwd="examples/tour") as other:
        transport = RoundRobin([one.port, other.port])
        async with httpx2.AsyncClient(transport=transport) as http:
            endpoint = streamable_http_client("http://127.0.0.1/mcp", http_client=http)
            async with Client(endpoint, mode=mode) as client:
                for number in range(500):
                    result = await client.call_tool("say_hello", {"name": str(number)})
                    assert result.structured_content == {"result": f"Hello {number}!"}
    assert min(transport.sent.values()) >= 250
