"""What an app holds on one event loop: its bus, queue, cache, worker threads, subscriptions and tasks.

`Runtime.lifespan` creates one `LoopState` for its event loop and drops it at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary, ref

from anyio import from_thread

from servey.caching.results import Results
from servey.calls.threads import Threads
from servey.core.clock import Clock
from servey.core.messages import Bus
from servey.core.queues import Queue
from servey.core.settings import Settings
from servey.events.feeds import Subscriptions
from servey.runtime.lanes import Lanes

MakePart = Callable[[str], Any]
"""Makes the part with this name: bus, queue or cache."""


class LoopState:
    """Everything of one app that belongs to one event loop. Parts are created on first use.

    Shape: ``subscriptions`` is None outside of a lifespan, ``tasks`` are those that may outlive the call that created
    them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, clock: Clock, make_part: MakePart) -> None:
        self.stopping: asyncio.Event = asyncio.Event()
        self.subscriptions: Subscriptions | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.lanes: Lanes = Lanes()
        self._loop = ref(loop)
        self._settings = settings
        self._clock = clock
        self._make_part = make_part

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that this state belongs to; not kept alive by it. Errors: RuntimeError if it is gone."""
        loop = self._loop()
        if loop is None:
            raise RuntimeError("the event loop no longer exists")
        return loop

    def is_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this state belongs to an event loop."""
        return self._loop() is loop

    @cached_property
    def threads(self) -> Threads:
        """Worker threads for plain ``def`` actions."""
        return Threads(self._settings.threads)

    @cached_property
    def bus(self) -> Bus:
        """Carries events to the processes that have subscribers."""
        bus: Bus = self._make_part("bus")
        return bus

    @cached_property
    def queue(self) -> Queue:
        """Stores jobs until a worker takes them."""
        queue: Queue = self._make_part("queue")
        return queue

    @cached_property
    def results(self) -> Results:
        """The server-side cache."""
        prefix = self._settings.redis_prefix + self._settings.cache_prefix
        return Results(self._make_part("cache"), prefix, self._clock.now)

    async def close_results(self) -> None:
        """Close the cache, if it was used."""
        if "results" in self.__dict__:
            await self.results.aclose()

    async def close_parts(self) -> None:
        """Close the queue and the bus, as far as they were used."""
        if "queue" in self.__dict__:
            await self.queue.aclose()
        if "bus" in self.__dict__:
            await self.bus.aclose()


class LoopStates:
    """The state of each event loop that an app is used on."""

    def __init__(self, settings: Settings, clock: Clock, make_part: MakePart, make_part_outside: MakePart) -> None:
        """``make_part_outside`` makes the parts of a loop that runs no lifespan."""
        self._settings = settings
        self._clock = clock
        self._make_part = make_part
        self._make_part_outside = make_part_outside
        self._running: list[LoopState] = []
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopState] = WeakKeyDictionary()

    @property
    def running(self) -> LoopState | None:
        """The state of the lifespan that began last, or None if none runs."""
        return self._running[-1] if self._running else None

    def of(self, loop: asyncio.AbstractEventLoop) -> LoopState:
        """The state of an event loop, inside or outside of a lifespan."""
        state = self._by_loop.get(loop)
        if state is None:
            state = self._by_loop[loop] = LoopState(loop, self._settings, self._clock, self._make_part_outside)
        return state

    def home(
        self,
        here: asyncio.AbstractEventLoop | None,
        loop_of_thread: Callable[[], asyncio.AbstractEventLoop | None] = lambda: None,
    ) -> LoopState | None:
        """The state that code on the loop ``here`` uses: that of its own lifespan, else that of the latest one, else that
        of the loop itself; None if there is neither a lifespan nor a loop. In a worker thread, its loop counts.
        """
        if here is not None and len(self._running) == 1 and self._running[0].is_of(here):
            return self._running[0]  # nearly always
        if here is None and len(self._running) != 1:
            here = loop_of_thread()
        if here is None:
            return self.running
        state = self.of(here)
        return state if state in self._running else self.running or state

    def open(self) -> LoopState:
        """Create the state of a lifespan that begins on the running loop."""
        loop = asyncio.get_running_loop()
        state = LoopState(loop, self._settings, self._clock, self._make_part)
        self._running.append(state)
        self._by_loop[loop] = state
        return state

    def drop(self, state: LoopState) -> None:
        """Forget the state of a lifespan that has ended."""
        self._running.remove(state)
        loop = state.loop
        outer = next((each for each in reversed(self._running) if each.loop is loop), None)
        if outer is not None:
            self._by_loop[loop] = outer
        else:
            del self._by_loop[loop]


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_of_thread() -> asyncio.AbstractEventLoop | None:
    """The event loop that the current worker thread works for, or None in any other thread."""
    try:
        return from_thread.run_sync(asyncio.get_running_loop)
    except RuntimeError:
        return None
