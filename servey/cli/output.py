"""What commands tell: results on standard output or into files, errors as one line on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

Output = Annotated[str, typer.Option("--output", "-o", help="file to write; - is standard output")]


def fail(text: str, code: int) -> NoReturn:
    """Ends the process with an error: 1 for what went wrong, 2 for bad usage."""
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


def write(output: str, text: str) -> None:
    """Writes a document to where ``--output`` says."""
    if output == "-":
        sys.stdout.write(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{output} can not be written: {error.strerror}", 1)
    print(f"wrote {output}", file=sys.stderr)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Prints rows in columns as wide as they need to be; the last column is as wide as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())
