"""The command line that the benchmarks share."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

FEW_SECONDS = "a few seconds, for a first look; the figures mean little"
A_MINUTE = "a minute, for a first look; the figures mean little"


def parser_of(module: str, about: str | None, results: Path, quick: str = FEW_SECONDS) -> argparse.ArgumentParser:
    """Return a parser of --quick and --write for a module of benchmarks."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--write", action="store_true", help=f"write benchmarks/{results.name}")
    return parser


def print_report(lines: Iterator[str], results: Path, *, write: bool) -> None:
    """Print each line as soon as it is known; with ``write``, also write them all into a file."""
    printed = []
    for line in lines:
        print(line, flush=True)
        printed.append(line)
    if write:
        results.write_text("\n".join(printed) + "\n", encoding="utf-8")
