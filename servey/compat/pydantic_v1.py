"""Lets FastAPI create routes without importing `pydantic.v1`, which it only needs to refuse models of Pydantic 1.

The import takes a tenth of a cold start. A class can only be such a model if somebody has imported `pydantic.v1`.
Source: fastapi/_compat/shared.py, 0.119 to 0.165; versions that check in another way are left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NAME = "is_pydantic_v1_model_class"


@contextmanager
def only_imported_v1() -> Iterator[None]:
    """While it is active, `pydantic.v1` is not imported to check a type."""
    try:
        from fastapi._compat import shared
    except ImportError:
        yield
        return
    check = vars(shared).get(_NAME)
    if check is None:
        yield
        return

    def checked(cls: Any) -> bool:
        return "pydantic.v1" in sys.modules and bool(check(cls))

    shared.__dict__[_NAME] = checked
    try:
        yield
    finally:
        shared.__dict__[_NAME] = check
