"""Hearing of the process's end before its server does."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def told_of_the_end(stopping: asyncio.Event) -> Iterator[None]:
    """Sets the event when the process is asked to end, before the server's own handling of it.

    A server only shuts an app down once its connections are closed, so open streams have to hear of it earlier.
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
            signal.signal(number, _first(lambda: loop.call_soon_threadsafe(stopping.set), handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first(notify: Callable[[], Any], handler: Callable[..., Any]) -> Callable[..., Any]:
    def both(*args: Any) -> Any:
        notify()
        return handler(*args)

    return both
