"""The limit of concurrent calls in a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from servey.core.errors import Overloaded


class InFlight:
    """Counts the calls in flight in this process and rejects calls over the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count: int = 0

    @contextmanager
    def count_call(self) -> Iterator[Callable[[], None]]:
        """Count one call; the returned function stops counting it early. Errors: Overloaded."""
        if self.count >= self.limit:
            raise Overloaded()
        self.count += 1
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self.count -= 1

        try:
            yield release
        finally:
            release()
