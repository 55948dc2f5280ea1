"""Detect a shutdown signal before the server handles it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def set_on_shutdown_signal(stopping: asyncio.Event) -> Iterator[None]:
    """Set the event when the process receives SIGTERM or SIGINT, before the server handles the signal.

    A server shuts an app down only after its connections are closed, so open streams must end before that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        if callable(handler) and handler is not signal.default_int_handler:
            before[number] = handler
            signal.signal(number, _call_first(lambda: loop.call_soon_threadsafe(stopping.set), handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _call_first(notify: Callable[[], Any], handler: Callable[..., Any]) -> Callable[..., Any]:
    def both(*args: Any) -> Any:
        notify()
        return handler(*args)

    return both
