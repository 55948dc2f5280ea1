"""The standard streams of the command line: UTF-8 in every locale, and no end because a disk is full."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF)
"""Errors of writing that have no file name, because the shell opened the file."""


class OutputError(OSError):
    """Standard output cannot be written; an action's own error of the same kind is none."""


class _Errors(io.TextIOWrapper):
    """Standard error that loses text which cannot be written: a full disk below a log ends no server."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare_streams() -> None:
    """Use UTF-8 for the standard streams unless PYTHONIOENCODING is set, and replace closed ones."""
    if sys.stdout is None:
        # Otherwise the next file or connection would get its number, and the output.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    encoding = None if os.environ.get("PYTHONIOENCODING") else "utf-8"
    if isinstance(sys.stdout, io.TextIOWrapper):
        is_lossless = (encoding or sys.stdout.encoding).lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(encoding=encoding, errors="surrogateescape" if is_lossless else "backslashreplace")
    if type(sys.stderr) is io.TextIOWrapper:
        sys.stderr = _Errors(
            sys.stderr.buffer,
            encoding=encoding or sys.stderr.encoding,
            errors="backslashreplace",
            line_buffering=True,
            write_through=sys.stderr.write_through,
        )


def decoded(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, read as UTF-8 where the locale's encoding could not read them.

    Errors: UnicodeDecodeError for a word that is not UTF-8.
    """
    return [word if _is_text(word) else os.fsencode(word).decode("utf-8") for word in words]


def _is_text(word: str) -> bool:
    try:
        word.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def error_text(error: OSError) -> str:
    """Return one line for an error of a file or of standard output."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"{os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename}: {reason}"
    return f"the output cannot be written: {reason}" if error.errno in _DISK else f"{type(error).__name__}: {reason}"


def drop_output() -> None:
    """Discard what standard output has not written, so that the interpreter does not try it again at the end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
