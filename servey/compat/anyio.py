"""Registers threads as anyio worker threads, so that ``anyio.from_thread`` works in them.

Source: anyio/_core/_eventloop.py and anyio/_backends/_asyncio.py, 4.7 to 4.16.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any

from anyio._backends._asyncio import AsyncIOBackend, CancelScope, _task_states
from anyio._core._eventloop import claim_worker_thread, threadlocals

if not {"backend_class", "token"} <= set(inspect.signature(claim_worker_thread).parameters):
    raise ImportError(
        f"anyio {version('anyio')} changed claim_worker_thread(); "
        "install a version of anyio that this version of servey supports"
    )


__all__ = ["CancelScope", "forget_library", "is_in_cancel_scope", "register_worker_thread", "set_scope"]


def is_in_cancel_scope() -> bool:
    """Whether the current task runs in a cancel scope of anyio, so that anyio could cancel it."""
    task = asyncio.current_task()
    state = _task_states.get(task) if task is not None else None
    return state is not None and state.cancel_scope is not None


def register_worker_thread(loop: asyncio.AbstractEventLoop) -> AbstractContextManager[Any]:
    """Register this thread as a worker of an event loop, until the context manager exits."""
    return claim_worker_thread(AsyncIOBackend, loop)


def set_scope(scope: CancelScope | None) -> None:
    """Set the cancel scope that ``check_cancelled()`` and ``run()`` use in this thread, or None."""
    threadlocals.current_cancel_scope = scope


def forget_library() -> None:
    """Reset the current async library in this context, which was copied from an event loop's."""
    _set_library(None)


def _library_setter() -> Any:
    try:
        return importlib.import_module("anyio._core._eventloop").set_current_async_library
    except AttributeError:
        return importlib.import_module("sniffio").current_async_library_cvar.set


_set_library = _library_setter()
