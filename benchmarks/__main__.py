"""Measures Servey beside its peers: python -m benchmarks [CASE ...] [--quick] [--write]."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import calls, inprocess, many, wire
from benchmarks.cases import CASES, Case
from benchmarks.command import parser_of, print_report
from benchmarks.peers import is_installed

RESULTS = Path(__file__).parent / "RESULTS.md"
PACKAGES = ("fastapi", "starlette", "pydantic", "orjson", "uvicorn", "uvloop", "httptools")
MANY = 1000


def main() -> None:
    parser = parser_of("benchmarks", __doc__, RESULTS)
    parser.add_argument("case", nargs="*", help=f"which to run, of: {', '.join(CASES)}; all by default")
    options = parser.parse_args()
    unknown = set(options.case) - set(CASES)
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are: {', '.join(CASES)}")
    print_report(
        _report([CASES[name] for name in options.case or CASES], quick=options.quick), RESULTS, write=options.write
    )


def _report(cases: list[Case], *, quick: bool) -> Iterator[str]:
    rounds, seconds = (2, 0.5) if quick else (9, 1)
    yield from (
        "# Results",
        "",
        "Made by `python3 dev.py bench --write`.",
        f"Ratios are to hand-written FastAPI in the same run, medians of {rounds} interleaved rounds; above 1 is faster.",
        "The microseconds are those of one machine; compare them only with each other.",
        "In (f) BlackSheep, `raw` and `servey_in_place` run the function on the event loop; the others in a worker thread.",
        f"Behind uvicorn: one worker, {wire.CONNECTIONS} connections, no access log; p99 is that of the latency.",
        "",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
        "",
        "## Requests",
        "",
        "| case | peer | in-process us | x FastAPI | CPU us behind uvicorn | x FastAPI | p99 ms |",
        "|---|---|---|---|---|---|---|",
    )
    kinds = []
    for case in cases:
        peers = [name for name in case.peers if is_installed(name)]
        inside = inprocess.measure(peers, case, rounds)
        outside = wire.measure(peers, case, max(2, rounds // 2 + 1), seconds) if case.behind_server else {}
        for peer in peers:
            own, ratios = inside[peer]
            what = case.what if peer == peers[0] else ""
            line = f"| {what} | {peer} | {own:.1f} | {median(ratios):.2f} |"
            if peer in outside:
                cpu, cpu_ratios, p99 = outside[peer]
                line += f" {cpu:.0f} | {median(cpu_ratios):.2f} | {p99:.1f} |"
            yield line if peer in outside else f"{line} | | |"
            if peer in ("servey", "servey_middleware", "conduit_servey"):
                kinds.append((case.what, median(ratios), median(outside[peer][1]) if peer in outside else None))
    yield from _slower(kinds)
    yield from _servers(cases, rounds, seconds)
    yield from ("", "## Many actions", "", f"Of {MANY}; microseconds in-process, the best of 5.", "")
    yield "| | start, s | the first | the last | a 404 | OpenAPI, on first use, s |"
    yield "|---|---|---|---|---|---|"
    for name in ("fastapi", "servey"):
        cost = many.measure(name, 100 if quick else MANY)
        yield (
            f"| {name} | {cost['start']:.2f} | {cost['first']:.1f} | {cost['last']:.1f} | {cost['nowhere']:.1f} "
            f"| {cost['openapi']:.2f} |"
        )
    yield from ("", "## A call without a transport", "", "| | microseconds | of FastAPI's handler |", "|---|---|---|")
    found = calls.measure(rounds, 200 if quick else 5000)
    whole = found["FastAPI's handler"]
    yield from (f"| {name} | {each:.1f} | {each / whole:.2f} |" for name, each in found.items())


def _slower(kinds: list[tuple[str, float, float | None]]) -> Iterator[str]:
    """Say of every kind of action whether it is slower than FastAPI."""
    found = [what for what, *ratios in kinds if any(each is not None and each < 1 for each in ratios)]
    yield from (
        "",
        "## Slower than FastAPI",
        "",
        f"{len(found)} of {len(kinds)} kinds of requests: {'; '.join(found) or 'none'}.",
        "",
        "| kind | x FastAPI in-process | behind uvicorn | |",
        "|---|---|---|---|",
    )
    for what, inside, outside in sorted(kinds, key=lambda kind: kind[1]):
        behind = "" if outside is None else f"{outside:.2f}"
        yield f"| {what} | {inside:.2f} | {behind} | {'**slower**' if what in found else ''} |"


def _servers(cases: list[Case], rounds: int, seconds: float) -> Iterator[str]:
    """Compare the servers of `servey run`, which write a line of the log for each request."""
    yield from (
        "",
        "## Servers",
        "",
        f"`servey run --server`, {wire.CONNECTIONS} connections, with the access log.",
        "",
    )
    yield from ("| case | server | CPU us | x uvicorn | p99 ms | MB |", "|---|---|---|---|---|---|")
    for case in cases:
        if case.name not in ("text", "order", "list"):
            continue
        servers = {name: wire.behind(name) for name in ("uvicorn", "granian")}
        memory: dict[str, float] = {}
        for name, (process, port) in servers.items():
            wire.wait_for(port, name)
            memory[name] = wire.megabytes(process.pid)
        for name, (cpu, ratios, p99) in wire.compare(servers, case, max(2, rounds // 2 + 1), seconds).items():
            what = case.what if name == "uvicorn" else ""
            yield f"| {what} | {name} | {cpu:.0f} | {median(ratios):.2f} | {p99:.1f} | {memory[name]:.0f} |"


if __name__ == "__main__":
    main()
