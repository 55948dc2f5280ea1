"""What lives as long as the process: the catalog, the settings, the worker threads, the calls in flight."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from servey.access import Authorization, Authorizer
from servey.actions import Action, get_action
from servey.audit import RedisWatch, problems_of
from servey.cache import TtlCacheControl
from servey.catalog import Catalog
from servey.channels import BackgroundActionChannel, HandedOver, Message, WebhookEventChannel, WebsocketEventChannel
from servey.condition import offer_gauges
from servey.context import Context, Transport, forget_running, note_running
from servey.dependencies import Resources
from servey.enqueue import enqueue, enqueue_event
from servey.errors import ActionError, ConfigError, ServeyError
from servey.events import Bus
from servey.feeds import Subscriptions
from servey.ids import new_request_id
from servey.invoke import Plan, plan_of
from servey.limits import InFlight
from servey.metrics import PUBLISHED, Metrics
from servey.parts import Parts
from servey.queues import Queue
from servey.results import Results
from servey.settings import Settings
from servey.signals import told_of_the_end
from servey.telemetry import Observer, observer_of, sending
from servey.threads import Threads
from servey.triggers import CronTrigger, FixedRateTrigger

logger = logging.getLogger("servey")

_GRACE_SECONDS = 10
_REPORT_SECONDS = 0.1

T = TypeVar("T")

Service = Callable[["Runtime"], AbstractAsyncContextManager[None]]
"""Something that runs as long as the app does; a bus, a scheduler."""


class Runtime:
    """One running app. Every call goes through its `Plan`s; `lifespan` is its beginning and its end.

    Errors: ConfigError that lists every action that FastAPI can not inject into.
    """

    def __init__(self, catalog: Catalog, settings: Settings, parts: Parts) -> None:
        self.catalog = catalog
        self.settings = settings
        self.parts = parts
        self.authorizer: Authorizer = parts.make_authorizer(settings)
        self.services: list[Service] = []
        self.in_flight = InFlight(settings.max_in_flight)
        self.metrics = Metrics()
        offer_gauges(self)
        self.observer: Observer | None = None
        self.app: Any = None
        self._plans = _plans(catalog)
        self._kept: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._orderly: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._stopping: asyncio.Event | None = None
        self._is_draining = False
        # Made here and not on first use, as the bus is: its libraries are slow to import.
        keeps = any(plan.keeping is not None for plan in self._plans.values())
        self._first_cache: Any = parts.make_cache(settings) if keeps else None
        self._results: WeakKeyDictionary[asyncio.AbstractEventLoop, Results] = WeakKeyDictionary()
        self._reported: dict[str, float] = {}
        # Made here and not on first use: their libraries are slow to import, and an event loop would have to wait.
        webhooks = catalog.channels_of(WebhookEventChannel)
        self.deliveries: Counter[str] = Counter()
        self.webhook_network: Any = parts.make_webhook_network(settings) if webhooks else None
        self._bus: Bus | None = parts.make_bus(settings) if catalog.channels_of(WebsocketEventChannel) else None
        self._queue: Queue | None = None
        self._subscriptions: Subscriptions | None = None
        self._threads: WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = WeakKeyDictionary()

    @property
    def threads(self) -> Threads:
        """The worker threads for plain ``def`` actions: this loop's."""
        loop = asyncio.get_running_loop()
        if loop not in self._threads:
            self._threads[loop] = Threads(self.settings.threads)
        return self._threads[loop]

    @property
    def bus(self) -> Bus:
        """What carries events to the processes that have subscribers; a new one for each lifespan."""
        bus = self._bus
        if bus is None:
            bus = self._bus = self.parts.make_bus(self.settings)
        return bus

    @property
    def subscriptions(self) -> Subscriptions:
        """Who receives events in this process. Errors: ServeyError where the app is not running."""
        if self._subscriptions is None:
            raise ServeyError("The app is not running, so that no one can subscribe; enter its lifespan")
        return self._subscriptions

    @property
    def queue(self) -> Queue:
        """What keeps jobs until a worker takes them; a new one for each lifespan."""
        if self._queue is None:
            self._queue = self.parts.make_queue(self.settings)
        return self._queue

    @property
    def cache(self) -> Results:
        """The results that the server keeps: this loop's."""
        loop = asyncio.get_running_loop()
        if loop not in self._results:
            first, self._first_cache = self._first_cache, None
            self._results[loop] = Results(first or self.parts.make_cache(self.settings), self.settings.cache_prefix)
        return self._results[loop]

    @property
    def parts_in_use(self) -> dict[str, Any]:
        """The parts that live outside of a call and that something in the catalog needs, by name."""
        catalog = self.catalog
        jobs = (*catalog.channels_of(BackgroundActionChannel), *catalog.channels_of(WebhookEventChannel))
        schedules = (*catalog.triggered_by(FixedRateTrigger), *catalog.triggered_by(CronTrigger))
        caches = (action.cache_control for action in catalog)
        needed = {
            "bus": bool(catalog.channels_of(WebsocketEventChannel)),
            "queue": bool(jobs or schedules),
            "cache": any(isinstance(control, TtlCacheControl) and control.server for control in caches),
        }
        return {name: getattr(self, name) for name in needed if needed[name]}

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Hands a message over to the bus; comes back when the bus has it. Errors: Overloaded while it does not answer."""
        with sending(self, "servey_events", message.channel):
            await self.bus.publish(message, history=history)
        self.metrics.add(PUBLISHED, message.channel)

    def hand_over(self, deliver: Callable[[], Awaitable[T]]) -> HandedOver[T]:
        """Has the app's own loop do something, one after another in the order of the calls.

        In a worker thread it is waited for; on a loop, what is given back can be awaited.
        """
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        home = self._loop or here
        if home is None:
            raise ServeyError("The app is not running, so that there is no event loop to publish on")
        if here is home:
            task = home.create_task(self._in_order(deliver))
            self.keep(task)
            task.add_done_callback(_log_failure)
            return HandedOver(task)
        elsewhere = asyncio.run_coroutine_threadsafe(self._in_order(deliver), home)
        if here is not None:
            return HandedOver(asyncio.wrap_future(elsewhere, loop=here))
        done: HandedOver[T] = HandedOver()
        done.value = elsewhere.result()
        return done

    async def _in_order(self, deliver: Callable[[], Awaitable[T]]) -> T:
        lock = self._orderly.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            return await deliver()

    def enqueue(
        self,
        context: Context,
        action: Callable[..., Any] | str,
        params: Mapping[str, Any],
        *,
        delay: float,
        key: str | None,
    ) -> HandedOver[str]:
        """Has an action called later; see `Context.enqueue`. Errors: ServeyError for an action that this app has not."""
        if isinstance(action, str):
            found = next((each for each in self.catalog if each.name == action), None)
        else:
            found = action if isinstance(action, Action) else get_action(action)
        if found is None or found not in self._plans:
            raise ServeyError(f"{action!r} is no action of this app")
        return self.hand_over(lambda: enqueue(context, found, params, delay=delay, key=key))

    async def enqueue_event(
        self, channel: BackgroundActionChannel[Any] | WebhookEventChannel[Any], payload: bytes
    ) -> None:
        """Makes a job of an event: to call the channel's action, or to post it to the channel's URL."""
        await enqueue_event(self, channel, payload)

    def report_progress(self, job_id: str, done: float, total: float | None) -> None:
        """Notes how far a running job has come; what comes faster than ten times a second is left out."""
        moment = time.monotonic()
        if done != total and moment - self._reported.get(job_id, 0.0) < _REPORT_SECONDS:
            return
        self._reported = {**{k: v for k, v in self._reported.items() if moment - v < 1}, job_id: moment}
        self.hand_over(lambda: self.queue.report(job_id, {"done": done, "total": total}))

    async def reports_told(self, job_id: str) -> None:
        """Waits until everything that a job has reported is noted."""
        if self._reported.pop(job_id, None) is not None:
            await self.hand_over(_nothing)

    def plan(self, action: Action) -> Plan:
        """What was decided of an action. Errors: KeyError for one that is not in the catalog."""
        return self._plans[action]

    def context(
        self,
        via: Transport,
        *,
        token: str | None = None,
        authorization: Authorization | None = None,
        trusted: bool = False,
        request_id: str | None = None,
        request: Any = None,
        app: Any = None,
    ) -> OpenContext:
        """One call's `Context`, to be entered; leaving it runs background tasks and closes what the call holds open."""
        resources = Resources(request=request, app=app if app is not None else self.app)
        return OpenContext(
            Context(
                self,
                via,
                request_id=request_id or new_request_id(),
                token=token,
                authorization=authorization,
                trusted=trusted,
                resources=resources,
            )
        )

    def taken_over(self, context: Context, *, request: Any, app: Any) -> OpenContext:
        """A call's `Context` that was made before, to be entered with a request of its own."""
        context.resources = Resources(request=request, app=app if app is not None else self.app)
        return OpenContext(context)

    def no_resources(self) -> Resources:
        """The resources of a call that has not opened anything yet."""
        return Resources(app=self.app)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Holds on to a task that may outlive its call, so that it is neither lost nor forgotten at the end."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    @property
    def is_running(self) -> bool:
        """Whether its lifespan has begun and not ended."""
        return self._stopping is not None

    @property
    def is_ending(self) -> bool:
        """Whether the process was asked to end; it still serves whatever comes."""
        return self._is_draining or self.stopping.is_set()

    def drain(self) -> None:
        """Says that the process ends soon, so that whoever asks whether it is ready sends its traffic elsewhere."""
        self._is_draining = True

    @property
    def stopping(self) -> asyncio.Event:
        """Set once the process was asked to end: streams end themselves then."""
        # Some test clients never run a lifespan; their process does not end under open streams either.
        return self._stopping if self._stopping is not None else asyncio.Event()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Runs the app: its streams hear of the process's end, and what outlives its call is waited for."""
        # A test may run an app twice at once, each time on a loop of its own.
        loop = asyncio.get_running_loop()
        before = (self._stopping, self._loop, self._bus, self._queue, self._subscriptions)
        stopping, subscriptions = asyncio.Event(), Subscriptions(self)
        self._stopping, self._loop, self._queue, self._subscriptions = stopping, loop, None, subscriptions
        if before[1] is not None:
            self._bus = None
        self.observer = observer_of(self)
        redis = RedisWatch(self.settings)
        note_running(self)
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(redis.end)
                await redis.begin()
                stack.push_async_callback(self._forget_results)
                if any(plan.keeping is not None for plan in self._plans.values()):
                    _ = self.cache  # what it needs may not be there, and that is better said now
                for service in self.services:
                    await stack.enter_async_context(service(self))
                try:
                    with told_of_the_end(stopping):
                        yield
                finally:
                    stopping.set()
                    kept = [task for task in self._kept if task.get_loop() is loop]
                    if kept:
                        await asyncio.wait(kept, timeout=_GRACE_SECONDS)
                    await subscriptions.aclose()
        finally:
            try:
                await self._close_parts()
            finally:
                forget_running(self)
                self._stopping, self._loop, bus, self._queue, self._subscriptions = before
                self._bus = bus if self._loop is not None else None

    async def _close_parts(self) -> None:
        if self._queue is not None:
            await self._queue.aclose()
        if self._bus is not None:
            await self._bus.aclose()

    async def _forget_results(self) -> None:
        results = self._results.pop(asyncio.get_running_loop(), None)
        if results is not None:
            await results.aclose()

    @property
    def guarded_action(self) -> Action | None:
        """An action that refuses some callers; None where everyone may call all of them."""
        return next((plan.action for plan in self._plans.values() if plan.guarded), None)

    def check_settings(self) -> None:
        """Makes sure that this app may serve. Errors: ConfigError that says why not, a line for each reason."""
        problems = list(problems_of(self))
        if problems:
            raise ConfigError(problems)


async def _nothing() -> None:
    pass


def _log_failure(task: asyncio.Task[Any]) -> None:
    # Whoever published may not be waiting for it.
    error = None if task.cancelled() else task.exception()
    if isinstance(error, ActionError):
        logger.error("an event or a job could not be handed over: %s", error)
    elif error is not None:
        logger.error("an event or a job could not be handed over", exc_info=error)


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
