# agent.py
"""What an agent does: `python agent.py URL TOKEN` lists the tools, comments on a ticket, and reads it."""

import asyncio
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, token: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        for tool in (await client.list_tools()).tools:
            print(f"{tool.name}: {tool.description}")
        await client.call_tool("add_comment", {"number": 1, "text": "An agent has read this"})
        print((await client.call_tool("get_ticket", {"number": 1})).structured_content)
        print((await client.call_tool("get_ticket", {"number": 7})).content[0].text)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
