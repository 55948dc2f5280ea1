"""The methods of dataclasses, compiled when a Lambda package was built.

For each dataclass the standard library writes the source of its methods and compiles it; for the two hundred that an app
and its libraries define, that takes a quarter of a cold start. `servey package` notes these sources when it starts the
project, and puts them, compiled, beside this file. A source that is not among them is compiled as ever.
Source: `dataclasses.py` of Python 3.11 to 3.14, whose functions call ``exec(source, globals, locals)``.
"""

from __future__ import annotations

import dataclasses
import marshal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType
from typing import Any

FILE: str = "servey/compat/generated_methods.bin"
"""The place of the compiled methods in a package."""

_HERE = Path(__file__).with_suffix(".bin")


@contextmanager
def generated_methods(file: Path = _HERE) -> Iterator[None]:
    """Use the compiled methods in a file, if it exists, for the dataclasses that are defined meanwhile."""
    known = _read(file)
    if not known or "exec" in vars(dataclasses):
        yield
        return

    def run(source: str, *namespaces: Any) -> None:
        exec(known.get(source, source), *namespaces)

    dataclasses.__dict__["exec"] = run
    try:
        yield
    finally:
        del dataclasses.__dict__["exec"]


def _read(file: Path) -> dict[str, CodeType]:
    """Return the compiled methods by their source; none if there are none of this version of Python."""
    try:
        data = file.read_bytes()
    except OSError:
        return {}
    if not data.startswith(MAGIC_NUMBER):
        return {}
    found: dict[str, CodeType] = marshal.loads(data[len(MAGIC_NUMBER) :])
    return found
