"""Output of commands: results on standard output or in files, errors as one line on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from servey.app import Servey

Output = Annotated[str, typer.Option("--output", "-o", help="file to write; - for standard output")]


AppPlace = Annotated[
    str | None,
    typer.Option(
        "--app", metavar="MODULE:NAME", help="the app [default: SERVEY_APP, servey_app in app.py, the actions]"
    ),
]


def use_app(place: str | None) -> None:
    """Select the app for this process and its child processes."""
    if place:
        os.environ["SERVEY_APP"] = place


def warn_if_empty(app: Servey) -> None:
    """Say where actions are looked for, if the app has neither actions nor channels."""
    if app.runtime.catalog.actions or app.runtime.catalog.channels:
        return
    inside = sorted(path.parent.name for path in Path("src").glob("*/actions*") if path.suffix in ("", ".py"))
    hint = (
        f"set PYTHONPATH=src and SERVEY_MAIN={inside[0]}"
        if inside
        else "name their modules in SERVEY_ACTION_PATH or SERVEY_MAIN"
    )
    print(f"warning: the app has no actions; {hint}", file=sys.stderr)


def fail(text: str, code: int) -> NoReturn:
    """Print an error and exit: code 1 for a failure, 2 for bad usage."""
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


def write(output: str, text: str) -> None:
    """Write a document to a file, or to standard output for ``-``."""
    if output == "-":
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}", 1)
    except UnicodeEncodeError:
        fail(f"{output} cannot be written: the locale has no such file name", 1)
    print(f"wrote {output}", file=sys.stderr)


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows what a command is doing, on one line that is erased at the end.

    It shows nothing if standard error is not a terminal.
    """
    began = time.monotonic()

    def show(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{time.monotonic() - began:3.0f} s  {text} ...", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in aligned columns; the last column is not padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())
