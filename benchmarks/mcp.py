"""Measures a tool call over MCP beside REST and FastMCP: python3 dev.py bench mcp [--quick] [--write]."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import wire
from benchmarks.cases import Case
from benchmarks.command import parser_of, print_report
from benchmarks.peers import is_installed

RESULTS = Path(__file__).parent / "MCP.md"
ARGUMENTS = {"id": 3, "name": "tea"}
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
HEADERS = ((b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call"), (b"mcp-name", b"get_product"))


def _body(**more: Any) -> bytes:
    params = {"name": "get_product", "arguments": ARGUMENTS, **more}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


ACCEPT = ((b"accept", b"application/json, text/event-stream"),)

OURS = (
    Case("rest", "REST", "POST", "/actions/get-product", body=json.dumps(ARGUMENTS).encode()),
    Case("mcp-2025", "MCP 2025-11-25", "POST", "/mcp", body=_body()),
    Case("mcp-2026", "MCP 2026-07-28", "POST", "/mcp", body=_body(_meta=META), headers=HEADERS),
)
THEIRS = Case("fastmcp", "FastMCP, MCP 2025-11-25", "POST", "/mcp", body=_body(), headers=ACCEPT)


def measure(rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """For each case the median CPU microseconds of a call, and the median ratio to REST in the same round."""
    by_peer = {"mcp_servey": OURS, **({"fastmcp": (THEIRS,)} if is_installed("fastmcp") else {})}
    costs: dict[str, list[float]] = {case.what: [] for cases in by_peer.values() for case in cases}
    served = {peer: wire.serve(peer) for peer in by_peer}
    turns = [(*served[peer], case) for peer, cases in by_peer.items() for case in cases]
    try:
        for peer, (_, port) in served.items():
            wire.wait_for(port, peer)
        for _, port, case in turns:
            wire.load(port, case, seconds / 2, wire.CONNECTIONS)
        for _ in range(rounds):
            for process, port, case in turns:
                before = wire.cpu_seconds(process.pid)
                calls = wire.load(port, case, seconds, wire.CONNECTIONS).requests
                costs[case.what].append((wire.cpu_seconds(process.pid) - before) / calls)
    finally:
        for process, _ in served.values():
            process.terminate()
            process.wait(10)
    rest = costs[OURS[0].what]
    return {
        what: (median(each) * 1e6, median(own / base for own, base in zip(each, rest, strict=True)))
        for what, each in costs.items()
    }


def report(*, quick: bool) -> Iterator[str]:
    rounds, seconds = (2, 1) if quick else (9, 2)
    yield from (
        "# Tools",
        "",
        "Made by `python3 dev.py bench mcp --write`.",
        f"CPU microseconds of a call behind uvicorn, medians of {rounds} interleaved rounds.",
        "The ratio is to the same call over REST in the same round; above 1 is slower.",
        "",
        f"Python {platform.python_version()}, fastapi {version('fastapi')}, uvicorn {version('uvicorn')}.",
        "",
        "| protocol | us | x REST |",
        "|---|---|---|",
    )
    yield from (f"| {what} | {own:.0f} | {ratio:.2f} |" for what, (own, ratio) in measure(rounds, seconds).items())


def main() -> None:
    parser = parser_of("benchmarks.mcp", __doc__, RESULTS)
    options = parser.parse_args()
    print_report(report(quick=options.quick), RESULTS, write=options.write)


if __name__ == "__main__":
    main()
