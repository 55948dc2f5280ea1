"""What lives as long as the process: the catalog, the settings, the worker threads, the calls in flight."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from servey.access import Authorizer
from servey.actions import Action
from servey.catalog import Catalog
from servey.context import Context, Transport
from servey.dependencies import Resources
from servey.errors import ConfigError
from servey.invoke import Plan, plan_of
from servey.limits import InFlight
from servey.settings import Settings
from servey.threads import Threads
from servey.tokens import NoKeyAuthorizer

_GRACE_SECONDS = 10


class Runtime:
    """One running app. Every call goes through its `Plan`s; `lifespan` is its beginning and its end.

    Errors: ConfigError that lists every action that FastAPI can not inject into.
    """

    def __init__(self, catalog: Catalog, settings: Settings, authorizer: Authorizer) -> None:
        self.catalog = catalog
        self.settings = settings
        self.authorizer = authorizer
        self.in_flight = InFlight(settings.max_in_flight)
        self.app: Any = None
        self._plans = _plans(catalog)
        self._kept: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Event | None = None
        self._threads: WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = WeakKeyDictionary()

    @property
    def threads(self) -> Threads:
        """The worker threads for plain ``def`` actions: this loop's."""
        loop = asyncio.get_running_loop()
        if loop not in self._threads:
            self._threads[loop] = Threads(self.settings.threads)
        return self._threads[loop]

    def plan(self, action: Action) -> Plan:
        """What was decided of an action. Errors: KeyError for one that is not in the catalog."""
        return self._plans[action]

    def context(
        self,
        via: Transport,
        *,
        token: str | None = None,
        trusted: bool = False,
        request_id: str | None = None,
        request: Any = None,
        app: Any = None,
    ) -> OpenContext:
        """One call's `Context`, to be entered; leaving it runs background tasks and closes what the call holds open."""
        resources = Resources(request=request, app=app if app is not None else self.app)
        return OpenContext(
            Context(self, via, request_id=request_id or uuid4().hex, token=token, trusted=trusted, resources=resources)
        )

    def keep(self, task: asyncio.Task[None]) -> None:
        """Holds on to a task that may outlive its call, so that it is neither lost nor forgotten at the end."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    @property
    def is_running(self) -> bool:
        """Whether its lifespan has begun and not ended."""
        return self._stopping is not None

    @property
    def stopping(self) -> asyncio.Event:
        """Set once the process was asked to end: streams end themselves then."""
        # Some test clients never run a lifespan; their process does not end under open streams either.
        return self._stopping if self._stopping is not None else asyncio.Event()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Runs the app: its streams hear of the process's end, and what outlives its call is waited for."""
        # A test may run an app twice at once, each time on a loop of its own.
        before, stopping = self._stopping, asyncio.Event()
        self._stopping = stopping
        try:
            with _told_of_the_end(stopping):
                yield
        finally:
            stopping.set()
            self._stopping = before
            loop = asyncio.get_running_loop()
            kept = [task for task in self._kept if task.get_loop() is loop]
            if kept:
                await asyncio.wait(kept, timeout=_GRACE_SECONDS)

    def check_settings(self) -> None:
        """Makes sure that this app may serve. Errors: ConfigError that says why not, a line for each reason."""
        guarded = next((plan.action for plan in self._plans.values() if plan.guarded), None)
        if guarded is not None and isinstance(self.authorizer, NoKeyAuthorizer):
            raise guarded.problem(
                "is guarded and there is no key to verify tokens with; "
                "set JWT_SECRET_KEY (HS256), SERVEY_JWT_PUBLIC_KEY or SERVEY_JWKS_URL (RS256, ES256)"
            )


class OpenContext:
    """A call's `Context` as an async context manager; a class, since a generator would cost as much as the call."""

    __slots__ = ("_context",)

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __aenter__(self) -> Context:
        return self._context

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        resources: Resources = self._context.resources
        await resources.close(error)


def _plans(catalog: Catalog) -> dict[Action, Plan]:
    plans: dict[Action, Plan] = {}
    problems: list[str] = []
    for action in catalog:
        try:
            plans[action] = plan_of(action)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return plans


@contextmanager
def _told_of_the_end(stopping: asyncio.Event) -> Iterator[None]:
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
