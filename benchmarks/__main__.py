"""Measures Servey beside its peers: python -m benchmarks [CASE ...] [--quick] [--write]."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import calls, inprocess, wire
from benchmarks.cases import CASES

PEERS = ["fastapi", "servey", "starlette"]
RESULTS = Path(__file__).parent / "RESULTS.md"
PACKAGES = ("fastapi", "starlette", "pydantic", "uvicorn")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="*", help=f"which to run, of: {', '.join(CASES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a few seconds, for a first look; the figures mean little")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    options = parser.parse_args()
    unknown = set(options.case) - set(CASES)
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are: {', '.join(CASES)}")
    report = "\n".join(_report([CASES[name] for name in options.case or CASES], quick=options.quick))
    print(report)
    if options.write:
        RESULTS.write_text(report + "\n")


def _report(cases: list, *, quick: bool) -> list[str]:
    rounds, requests = (2, 300) if quick else (9, 4000)
    yielded = [
        "# Results",
        "",
        "Made by `python3 dev.py bench --write`.",
        f"Ratios are to hand-written FastAPI in the same run, medians of {rounds} interleaved rounds; above 1 is faster.",
        "Microseconds are of one machine, and only mean something beside each other.",
        "",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES) + ".",
        "",
        "## A call without a transport",
        "",
        "| | microseconds | of FastAPI's handler |",
        "|---|---|---|",
    ]
    found = calls.measure(rounds, 200 if quick else 5000)
    whole = found["FastAPI's handler"]
    yielded += [f"| {name} | {each:.1f} | {each / whole:.2f} |" for name, each in found.items()]
    yielded += [
        "",
        "## Requests",
        "",
        "| case | peer | in-process us | x FastAPI | CPU us behind uvicorn | x FastAPI |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        peers = PEERS + (["raw"] if case.name == "text" else [])
        inside = inprocess.measure(peers, case, rounds)
        outside = wire.measure(peers, case, max(2, rounds // 2), requests)
        for peer in peers:
            (own, ratios), (cpu, cpu_ratios) = inside[peer], outside[peer]
            what = case.what if peer == peers[0] else ""
            yielded.append(
                f"| {what} | {peer} | {own:.1f} | {median(ratios):.2f} | {cpu:.0f} | {median(cpu_ratios):.2f} |"
            )
    return yielded


if __name__ == "__main__":
    main()
