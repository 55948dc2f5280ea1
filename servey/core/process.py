"""What a call needs from the process that it runs in.

`servey.runtime.Runtime` implements `Process`; everything below it names this Protocol only, so imports point one way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from servey.core.access import Authorizer, TokenSource
from servey.core.clock import Clock
from servey.core.messages import Bus, Message, Published, Submitted
from servey.core.payloads import Payload
from servey.core.queues import Queue

if TYPE_CHECKING:
    from servey.core.settings import Settings

T = TypeVar("T")


class Counters(Protocol):
    """The metrics of a process; see `servey.observability.metrics.Metrics`."""

    def add(self, metric: Any, *labels: str, amount: float = 1) -> None:
        """Add to a counter."""
        ...


class Threads(Protocol):
    """Worker threads for plain ``def`` functions; see `servey.calls.threads.Threads`."""

    async def run(self, call: Callable[[], T], started: Callable[[], None]) -> T:
        """Run a function in a worker thread; ``started`` is called when the thread starts it. Errors: Overloaded."""
        ...


class Client(Protocol):
    """The other end of a call that listens while the call runs; see `servey.mcp.questions`."""

    def report(self, done: float, total: float | None = None) -> None:
        """Tell how far the call is; from any thread."""
        ...

    def ask(self, model: type[T], message: str) -> T | None:
        """Return the answer to a question; see `servey.core.context.Context.ask`."""
        ...


class Process(Protocol):
    """One running app, as seen from inside a call.

    Shape: ``observer`` is None or a `servey.observability.telemetry.Observer`, ``cache`` a
    `servey.caching.results.Results`, ``catalog`` a `servey.core.catalog.Catalog`, ``subscriptions`` a
    `servey.events.feeds.Subscriptions`, ``app`` the FastAPI app. They are `Any` here because these types live in layers
    above this one. ``failed_tasks`` holds each long-lived task that has failed and not recovered yet, with its error; see
    `servey.calls.supervise`. With ``ignores_unknown_tokens`` a caller whose token cannot be verified is anonymous: inside a
    host that gave Servey no key, such a token is the host's own. ``job_owner`` is None or a
    `servey.runtime.job_owners.JobOwner`. ``shipped`` holds the paths of Servey's own pages by their labels; see
    `servey.layout.frame`.
    """

    authorizer: Authorizer
    clock: Clock
    token_source: TokenSource
    observer: Any
    catalog: Any
    app: Any
    errors: Any
    job_owner: Any
    failed_tasks: dict[str, str]
    ignores_unknown_tokens: bool
    shipped: dict[str, str]

    @property
    def is_running(self) -> bool:
        """Whether a lifespan is active."""
        ...

    @property
    def settings(self) -> Settings:
        """The app's settings."""
        ...

    @property
    def metrics(self) -> Counters:
        """The process's metrics."""
        ...

    @property
    def threads(self) -> Threads:
        """Worker threads for plain ``def`` actions."""
        ...

    @property
    def cache(self) -> Any:
        """The server's result cache."""
        ...

    @property
    def bus(self) -> Bus:
        """Carries events to the processes that have subscribers."""
        ...

    @property
    def queue(self) -> Queue:
        """Holds jobs until a worker runs them."""
        ...

    @property
    def subscriptions(self) -> Any:
        """The subscriptions in this process. Errors: ServeyError while the app does not run."""
        ...

    @property
    def stopping(self) -> asyncio.Event:
        """Set once graceful shutdown has begun."""
        ...

    def drain(self) -> None:
        """Report the process as not ready, before it stops."""
        ...

    def plan(self, action: Any) -> Any:
        """Return the `servey.calls.invoke.Plan` of an action. Errors: KeyError if it is not in the catalog."""
        ...

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Keep a reference to a task that may outlive its call."""
        ...

    def no_resources(self) -> Any:
        """Return empty `servey.calls.dependencies.Resources` for a call."""
        ...

    def submit(self, work: Callable[[], Awaitable[T]], *, lane: str | None = None) -> Submitted[T]:
        """Run a coroutine function on the app's event loop, in order within a lane.

        Errors: ServeyError if there is no event loop.
        """
        ...

    def submit_event(self, message: Message, *, history: int = 0) -> Published:
        """Publish a message as `submit` does, in order within its channel. Errors: ServeyError if there is no event loop."""
        ...

    async def publish(self, message: Message, *, history: int = 0) -> None:
        """Publish a message on the bus. Errors: Overloaded while the bus does not answer."""
        ...

    def enqueue(
        self,
        context: Any,
        action: Callable[..., Any] | str,
        params: Mapping[str, Any],
        *,
        delay: float,
        key: str | None,
        unique_for: float | None = None,
        on_success: bool = False,
    ) -> Submitted[str]:
        """Enqueue a call as a job; see `servey.core.context.Context.enqueue`."""
        ...

    def cancel_job(self, job_id: str) -> Submitted[bool]:
        """Cancel a queued or running job; see `servey.core.context.cancel`."""
        ...

    async def enqueue_event(self, channel: Any, payload: bytes | Payload) -> None:
        """Enqueue an event of a background or webhook channel as a job."""
        ...

    def report_progress(self, job_id: str, done: float, total: float | None) -> None:
        """Record the progress of a running job."""
        ...
