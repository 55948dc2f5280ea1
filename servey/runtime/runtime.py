"""One running app: its catalog, settings and parts, and what it holds on each event loop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from servey.caching.results import Results
from servey.calls.enqueue import enqueue_event, enqueueing, why_no_job
from servey.calls.ids import new_request_id
from servey.calls.in_flight import InFlight
from servey.calls.invoke import Plan, plan_of
from servey.calls.resources import Resources
from servey.calls.threads import Threads
from servey.core.access import Authorization, Authorizer, TokenSource
from servey.core.actions import Action, get_action
from servey.core.cache import TtlCacheControl
from servey.core.catalog import Catalog
from servey.core.channels import BackgroundActionChannel, WebhookEventChannel, WebsocketEventChannel
from servey.core.clock import Clock
from servey.core.context import Context, Transport, forget_running, note_created, note_running
from servey.core.errors import ConfigError, ServeyError
from servey.core.messages import Bus, Finished, Message, Published, Submitted, local_bus
from servey.core.payloads import Payload
from servey.core.queues import Queue, check_delay
from servey.core.settings import Settings
from servey.core.triggers import CronTrigger, FixedRateTrigger
from servey.events.feeds import Subscriptions
from servey.observability.metrics import PUBLISHED, Metrics
from servey.observability.telemetry import Observer, observer_of, sending
from servey.runtime.health import register_gauges
from servey.runtime.lanes import log_failure
from servey.runtime.loop_state import LoopState, LoopStates, loop_of_thread, running_loop
from servey.runtime.parts import PartMaker, Parts, attach
from servey.runtime.signals import set_on_shutdown_signal
from servey.runtime.startup_checks import RedisWatch, problems_of

logger: logging.Logger = logging.getLogger("servey")

_GRACE_SECONDS = 10
_REPORT_SECONDS = 0.1

T = TypeVar("T")

Service = Callable[["Runtime"], AbstractAsyncContextManager[None]]
"""A context manager that is entered for the lifetime of the app; a scheduler, for example."""


class Runtime:
    """One app. Every call goes through its `Plan`s; `lifespan` starts and stops it.

    Errors: ConfigError that lists every action with dependencies that FastAPI cannot resolve.
    """

    def __init__(self, catalog: Catalog, settings: Settings, parts: Parts) -> None:
        self.catalog = catalog
        self.settings: Settings = settings
        self.parts = parts
        self.prefix: str = ""  # of the routes, inside a host
        self.clock: Clock = Clock()
        self.authorizer: Authorizer
        self.token_source: TokenSource
        self.services: list[Service] = []
        self.in_flight: InFlight = InFlight(settings.max_in_flight)
        self.metrics: Metrics = Metrics()
        self.failed_tasks: dict[str, str] = {}
        self.ignores_unknown_tokens: bool = False
        self.shipped: dict[str, str] = {}
        register_gauges(self)
        self.observer: Observer | None = None
        self.app: Any = None
        self.errors: Any = None
        self.job_owner: Any = None
        self._plans = _plans(catalog)
        self._is_draining = False
        self._reported: dict[str, float] = {}
        self.deliveries: Counter[str] = Counter()
        # Created here and not on first use: importing their libraries is slow and would block the event loop.
        webhooks = catalog.channels_of(WebhookEventChannel)
        self.webhook_network: Any = parts.make_webhook_network(settings) if webhooks else None
        self._has_warned = False
        self.reconfigure(settings)
        note_created(self)

    def reconfigure(self, settings: Settings) -> None:
        """Use these settings, before the app runs. Errors: ConfigError."""
        self.settings = settings
        self.authorizer = self.parts.make_authorizer(settings)
        attach(self.authorizer, self)
        self.token_source = self.parts.make_token_source(settings)
        maker = PartMaker(self.parts, settings, self, self._slow_parts)
        self._states = LoopStates(settings, self.clock, maker.make_for_lifespan, maker.make_outside)

    @property
    def threads(self) -> Threads:
        """Worker threads of the running event loop, for plain ``def`` actions."""
        return self._states.of(asyncio.get_running_loop()).threads

    @property
    def cache(self) -> Results:
        """The server-side cache, of the running event loop."""
        return self._states.of(asyncio.get_running_loop()).results

    @property
    def bus(self) -> Bus:
        """Carries events to the processes that have subscribers; a new one for each lifespan."""
        return self._state.bus

    @property
    def queue(self) -> Queue:
        """Stores jobs until a worker takes them; a new one for each lifespan."""
        return self._state.queue

    @property
    def subscriptions(self) -> Subscriptions:
        """The subscriptions of this process. Errors: ServeyError if the app is not running."""
        found = self._state.subscriptions
        if found is None:
            raise ServeyError("The app is not running, so nobody can subscribe; enter its lifespan")
        return found

    @property
    def _state(self) -> LoopState:
        state = self._states.home(running_loop())
        if state is None:
            raise ServeyError("The app is not running and there is no event loop; enter the app's lifespan")
        return state

    @property
    def _caches_results(self) -> bool:
        return any(plan.cache_policy is not None for plan in self._plans.values())

    @property
    def _slow_parts(self) -> list[str]:
        """The parts whose libraries are imported when the app is created."""
        needed = {"cache": self._caches_results, "bus": bool(self.catalog.channels_of(WebsocketEventChannel))}
        return [name for name, is_needed in needed.items() if is_needed]

    @property
    def parts_in_use(self) -> dict[str, Any]:
        """The parts that the catalog needs and that may depend on another process, by name."""
        catalog = self.catalog
        jobs = (*catalog.channels_of(BackgroundActionChannel), *catalog.channels_of(WebhookEventChannel))
        schedules = (*catalog.triggered_by(FixedRateTrigger), *catalog.triggered_by(CronTrigger))
        caches = (action.cache_control for action in catalog)
        needed = {
            "bus": bool(catalog.channels_of(WebsocketEventChannel)),
            "queue": bool(jobs or schedules) or any(why_no_job(plan) is None for plan in self._plans.values()),
            "cache": any(isinstance(control, TtlCacheControl) and control.server for control in caches),
        }
        return {name: getattr(self, name) for name in needed if needed[name]}

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Send a message to the bus and return once the bus has accepted it. Errors: Overloaded if it does not answer."""
        with sending(self, "servey_events", message.channel):
            await self.bus.publish(message, history=history)
        self.metrics.add(PUBLISHED, message.channel)

    def submit(self, work: Callable[[], Awaitable[T]], *, lane: str | None = None) -> Submitted[T]:
        """Run a coroutine function on the app's event loop; in the order of the calls among those of the same ``lane``.

        In a worker thread this waits for the result; on an event loop the returned object can be awaited.
        Errors: ServeyError if the app is not running and there is no event loop.
        """
        here = running_loop()
        state = self._states.home(here, loop_of_thread)
        if state is None:
            raise ServeyError("The app is not running, so there is no event loop to publish on; enter its lifespan")
        if not self.is_running and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the app's lifespan is not running, so events reach no subscriber of this process and jobs wait; "
                "in tests, use `with TestClient(app)`; in an ASGI server, keep its lifespan support on"
            )
        if here is state.loop:
            return self._start(state, state.lanes.run(lane, work))
        elsewhere = asyncio.run_coroutine_threadsafe(state.lanes.run(lane, work), state.loop)
        if here is not None:
            return Submitted(asyncio.wrap_future(elsewhere, loop=here))
        done: Submitted[T] = Submitted()
        done.value = elsewhere.result()
        return done

    def submit_event(self, message: Message, *, history: int = 0) -> Published:
        """Publish a message as `submit` does, in order within its channel; on a local bus at once."""
        lane, work = f"channel {message.channel}", partial(self.publish, message, history=history)
        here = running_loop()
        state = None if here is None else self._states.home(here)
        if state is None or state.loop is not here or not self.is_running or local_bus(state.bus) is None:
            return self.submit(work, lane=lane)
        begun = state.lanes.begin(lane, work)
        return begun if isinstance(begun, Finished) else self._start(state, *begun)

    def _start(
        self, state: LoopState, work: Coroutine[Any, Any, T], in_context: contextvars.Context | None = None
    ) -> Submitted[T]:
        task = state.loop.create_task(work, context=in_context)
        self.keep(task)
        task.add_done_callback(log_failure)
        return Submitted(task)

    def enqueue(
        self,
        context: Context,
        action: Callable[..., Any] | str,
        params: Mapping[str, Any],
        *,
        delay: float,
        key: str | None,
        on_success: bool = False,
        unique_for: float | None = None,
    ) -> Submitted[str]:
        """Enqueue a job; see `Context.enqueue`. Errors: ServeyError for an action that is not in the catalog."""
        if isinstance(action, str):
            found = next((each for each in self.catalog if each.name == action), None)
        else:
            found = action if isinstance(action, Action) else get_action(action)
        if found is None or found not in self._plans:
            raise ServeyError(f"{action!r} is not an action of this app")
        check_delay(delay)
        if unique_for is not None:
            check_delay(unique_for, "time for which the key of a job is held")
        # Not in order: access rules and validators may be slow, or publish events themselves.
        work = enqueueing(context, found, params, delay=delay, key=key, unique_for=unique_for, on_success=on_success)
        return self.submit(work)

    def cancel_job(self, job_id: str) -> Submitted[bool]:
        """Cancel a queued or running job."""
        return self.submit(lambda: self.queue.cancel(job_id))

    async def enqueue_event(
        self, channel: BackgroundActionChannel[Any] | WebhookEventChannel[Any], payload: bytes | Payload
    ) -> None:
        """Enqueue a job for an event: call the channel's action, or post the event to the channel's URL."""
        await enqueue_event(self, channel, payload)

    def report_progress(self, job_id: str, done: float, total: float | None) -> None:
        """Record the progress of a running job, at most ten times a second."""
        moment = time.monotonic()
        if done != total and moment - self._reported.get(job_id, 0.0) < _REPORT_SECONDS:
            return
        self._reported = {**{k: v for k, v in self._reported.items() if moment - v < 1}, job_id: moment}
        self.submit(lambda: self.queue.report(job_id, {"done": done, "total": total}), lane=f"job {job_id}")

    async def flush_progress(self, job_id: str) -> None:
        """Wait until the reported progress of a job is stored."""
        if self._reported.pop(job_id, None) is not None:
            await self.submit(_nothing, lane=f"job {job_id}")

    def plan(self, action: Action) -> Plan:
        """The precomputed `Plan` of an action. Errors: KeyError for one that is not in the catalog."""
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
        """A call's `Context`, as a context manager that runs background tasks and closes resources on exit."""
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

    def reopen_context(self, context: Context, *, request: Any, app: Any) -> OpenContext:
        """Reuse a `Context` for another request, as a context manager."""
        context.resources = Resources(request=request, app=app if app is not None else self.app)
        return OpenContext(context)

    def no_resources(self) -> Resources:
        """Empty `Resources` for a call."""
        return Resources(app=self.app)

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Keep a reference to a task that may outlive its call, and wait for it at shutdown."""
        tasks = self._states.of(task.get_loop()).tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    @property
    def is_running(self) -> bool:
        """Whether a lifespan is active."""
        return self._states.running is not None

    @property
    def is_ending(self) -> bool:
        """Whether shutdown was requested; requests are still served."""
        return self._is_draining or self.stopping.is_set()

    def drain(self) -> None:
        """Report the process as not ready, because it stops soon."""
        self._is_draining = True

    @property
    def stopping(self) -> asyncio.Event:
        """Set once shutdown was requested; streams end then."""
        return self._state.stopping

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Run the app: start its services, end its streams at shutdown, and wait for tasks that outlive their call."""
        # A test may run an app on several event loops at once.
        state = self._states.open()
        subscriptions = state.subscriptions = Subscriptions(self)
        self.observer = observer_of(self.settings, self.metrics)
        redis = RedisWatch(self.settings)
        note_running(self)
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.metrics.shared_in(self.settings.metrics_dir))
                stack.push_async_callback(redis.stop)
                await redis.start()
                stack.push_async_callback(state.close_results)
                if self._caches_results:
                    _ = state.results  # a missing library is reported now and not by the first request
                for service in self.services:
                    await stack.enter_async_context(service(self))
                try:
                    with set_on_shutdown_signal(state.stopping):
                        yield
                finally:
                    state.stopping.set()
                    if state.tasks:
                        await asyncio.wait(state.tasks, timeout=_GRACE_SECONDS)
                    await subscriptions.aclose()
        finally:
            try:
                await state.close_parts()
            finally:
                forget_running(self)
                self._states.drop(state)
                self._has_warned = False

    @property
    def guarded_action(self) -> Action | None:
        """An action that refuses some callers, or None if everyone may call every action."""
        return next((plan.action for plan in self._plans.values() if plan.guarded), None)

    def check_settings(self) -> None:
        """Check that the settings are safe to serve with. Errors: ConfigError with one line for each problem."""
        problems = list(problems_of(self.settings, self.authorizer, self.guarded_action, self.catalog))
        if problems:
            raise ConfigError(problems)


async def _nothing() -> None:
    pass


class OpenContext:
    """A call's `Context` as an async context manager; a class, because a generator would double the cost of a call."""

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
