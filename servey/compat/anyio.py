"""What makes a thread one of anyio's worker threads, so that ``anyio.from_thread`` works in it.

Source: anyio/_core/_eventloop.py and anyio/_backends/_asyncio.py, 4.7 to 4.16.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any

from anyio._backends._asyncio import AsyncIOBackend, CancelScope
from anyio._core._eventloop import claim_worker_thread, threadlocals

if not {"backend_class", "token"} <= set(inspect.signature(claim_worker_thread).parameters):
    raise ImportError(
        f"anyio {version('anyio')} changed claim_worker_thread(); "
        "install a version of anyio that this version of servey supports"
    )


__all__ = ["CancelScope", "claimed", "forget_library", "set_scope"]


def claimed(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[Any]:
    """Makes this thread a worker of a loop, until left."""
    return claim_worker_thread(AsyncIOBackend, loop)


def set_scope(scope: CancelScope | None) -> None:
    """Has ``check_cancelled()`` and ``run()`` in this thread belong to a scope; None for none."""
    threadlocals.current_cancel_scope = scope


def forget_library() -> None:
    """Says that no event loop runs in this context, whatever it was copied from."""
    _set_library(None)


def _library_setter() -> Any:
    try:
        return importlib.import_module("anyio._core._eventloop").set_current_async_library
    except AttributeError:
        return importlib.import_module("sniffio").current_async_library_cvar.set


_set_library = _library_setter()
