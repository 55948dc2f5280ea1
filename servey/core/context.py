"""The context of one call: its caller, its transport and its deadline."""

from __future__ import annotations

import logging
from contextvars import Context as ContextVariables
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import ref

from pydantic_core import core_schema

from servey.core.access import Authorization, AuthorizationError
from servey.core.errors import CannotAsk, ServeyError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

    from servey.core.messages import Submitted
    from servey.core.process import Client, Process
    from servey.core.queues import CancelRequest

logger: logging.Logger = logging.getLogger("servey")

T = TypeVar("T")

Transport: TypeAlias = str
"""One of rest, page, graphql, mcp, websocket, sse, job, schedule, lambda, cli and test; the
transport of a plugin has its own name.
"""

_UNREAD = Unauthenticated()


class Context:
    """Information about the current call; annotate a parameter with it to receive it.

    Shape: ``via`` is the transport, ``request_id`` is in the logs and, over HTTP, in ``X-Request-ID``; ``trusted``
    callers (the operator's command line, the scheduler) need no token; ``resources`` holds dependencies and background
    tasks until the call ends; ``job_id`` is the id of the job that runs, or None.
    ``client`` is the other end of the call where it listens while the call runs, else None.
    ``cached`` is the `servey.caching.flights.Entry` of a cached result, or None for a fresh one.
    Units: ``deadline`` is in seconds on the running loop's clock, or None while no action runs.
    """

    __slots__ = (
        "_authorization",
        "_held",
        "_refused",
        "_resources",
        "cached",
        "cancel_request",
        "client",
        "deadline",
        "job_id",
        "request_id",
        "runtime",
        "token",
        "trusted",
        "via",
    )

    def __init__(
        self,
        runtime: Process,
        via: Transport,
        request_id: str,
        token: str | None = None,
        authorization: Authorization | None = None,
        trusted: bool = False,
        resources: Any = None,
    ) -> None:
        self.runtime: Process = runtime
        self.via: Transport = via
        self.request_id: str = request_id
        self.token: str | None = token
        self.trusted: bool = trusted
        self._resources = resources
        self.deadline: float | None = None
        self.cached: Any = None
        self.job_id: str | None = None
        self.cancel_request: CancelRequest | None = None
        self.client: Client | None = None
        self._held: list[Callable[[], Awaitable[Any]]] | tuple[()] | None = None
        # Already verified if passed in: a job's enqueuer, a socket's subscriber.
        self._authorization: Authorization | None = authorization
        self._refused: Unauthenticated | None = None if token is None else _UNREAD

    @property
    def resources(self) -> Any:
        """The open dependencies and background tasks of the call; created on first use."""
        if self._resources is None:
            self._resources = self.runtime.no_resources()
        return self._resources

    @resources.setter
    def resources(self, resources: Any) -> None:
        self._resources = resources

    @property
    def holds_resources(self) -> bool:
        """Whether something may have to be closed at the end of the call."""
        return self._resources is not None

    @property
    def made_at(self) -> float | None:
        """When a cached result was computed, in seconds since 1970, or None for a fresh one."""
        return None if self.cached is None else self.cached.made_at

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)  # input never becomes a Context, wherever it is in a type

    def accept(self, authorization: Authorization | None) -> bool:
        """Use an authorization that was verified before; returns False if it is None."""
        if authorization is None:
            return False
        self._authorization = authorization
        self._refused = None
        return True

    def another(self) -> Context:
        """Return a context for another call of the same caller in the same request, with resources of its own."""
        made = Context.__new__(Context)
        made.runtime, made.via, made.request_id = self.runtime, self.via, self.request_id
        made.token, made.trusted = self.token, self.trusted
        made._authorization, made._refused = self._authorization, self._refused
        made._resources = made.deadline = made.cached = made.job_id = made.cancel_request = made._held = None
        made.client = None
        return made

    async def authorize(self) -> Authorization | None:
        """Return the caller's authorization, verified on first use, or None for the anonymous.

        Errors: Unauthenticated if the token is invalid.
        """
        if self._refused is _UNREAD:
            assert self.token is not None
            try:
                self._authorization = await self.runtime.authorizer.authorize(self.token)
                self._refused = None
                record = _record.get(None)
                if record is not None:
                    record.subject = self._authorization.subject_id
            except AuthorizationError as error:
                if self.runtime.ignores_unknown_tokens:
                    self._refused = None
                    return None
                self._refused = Unauthenticated()
                logger.info("a token was refused: %s", error, extra={"request_id": self.request_id})
        return self.authorization

    @property
    def authorization(self) -> Authorization | None:
        """The caller's verified authorization, or None for the anonymous.

        Errors: Unauthenticated if the token is invalid.
        """
        if self._refused is not None:
            raise self._refused
        return self._authorization

    @property
    def verified_authorization(self) -> Authorization | None:
        """The authorization of the call's token if it has been verified, else None. It never raises."""
        return self._authorization

    @property
    def subject_id(self) -> str | None:
        """The subject of the call if its token has been verified; for logs."""
        return self._authorization.subject_id if self._authorization is not None else None

    def enqueue(
        self,
        action: Callable[..., Any] | str,
        params: Mapping[str, Any] | None = None,
        *,
        delay: float = 0,
        key: str | None = None,
        on_success: bool = False,
        unique_for: float | None = None,
    ) -> Submitted[str]:
        """Enqueue a call of an action as a job on behalf of this caller. Await the result for the job id; a plain ``def``
        reads it from ``value``.

        ``params`` are validated now. If a job of this action and caller holds the same ``key``, nothing is enqueued and the
        id of that job is returned. A job holds its key while it waits or runs, and for ``unique_for`` seconds after it has
        ended; None is as long as its state is kept. With ``on_success`` the job is enqueued when this call has succeeded and
        its dependencies of scope ``function`` are closed, and not at all if it fails; the id is known at once, and there is
        no such job if another one holds the ``key``.
        Units: ``delay`` in seconds.
        Errors: InvalidParams, Unauthenticated, Forbidden; ServeyError for an action that cannot run as a job.
        """
        return self.runtime.enqueue(
            self, action, params or {}, delay=delay, key=key, unique_for=unique_for, on_success=on_success
        )

    def hold_until_success(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Start ``work`` when this call has succeeded; at once if it has already, and never if it fails."""
        if self._held is None:
            self._held = []
        if isinstance(self._held, list):
            self._held.append(work)
        else:
            self.runtime.submit(work)

    def forget_held(self) -> None:
        """Drop what is held back, before another call in this context."""
        self._held = None

    async def succeed(self) -> None:
        """Note that the call has succeeded, and do what was held back until now, in order.

        Errors: the first one of the work, after all of it was tried.
        """
        held, self._held = self._held, ()
        if not held:
            return
        failure: Exception | None = None
        running = _current.set(self)
        try:
            for work in held:
                try:
                    await work()
                except Exception as error:
                    failure = failure or error
        finally:
            _current.reset(running)
        if failure is not None:
            raise failure

    def progress(self, done: float, total: float | None = None) -> None:
        """Report the progress of this job, or of a call over MCP to an agent that asks for it; else it does nothing."""
        if self.job_id is not None:
            self.runtime.report_progress(self.job_id, done, total)
        elif self.client is not None:
            self.client.report(done, total)

    def ask(self, model: type[T], message: str) -> T | None:
        """Ask the person behind this call, who fills in a form; None if they decline. It needs no ``await``.

        ``model`` is a Pydantic model or a dataclass whose fields are texts, numbers, bools, or choices among texts. The call
        ends here until the answer is there; then the action starts again, so ask before you change anything, and ask the
        same when it runs again. An answer is what the client says, not a proof that a person gave it.
        Errors: CannotAsk if nobody can be asked: not over MCP, or the client shows no forms; InvalidParams for an answer
        that ``model`` refuses; ServeyError for another kind of model, or if the server caches results of the action.
        """
        if self.client is None:
            raise CannotAsk()
        return self.client.ask(model, message)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled this job or call over MCP. A plain ``def`` that runs long reads it and returns
        early; an ``async`` action is cancelled by itself."""
        return self.cancel_request is not None and self.cancel_request.is_set

    def __repr__(self) -> str:
        return f"Context(via={self.via!r}, request_id={self.request_id!r}, trusted={self.trusted})"


_current: ContextVar[Context] = ContextVar("servey.context")
_record: ContextVar[Any] = ContextVar("servey.record")
"""The observer's record of the current request; unset without an observer."""
_before_guards: ContextVar[ContextVariables] = ContextVar("servey.before_guards")
"""The context variables before the dependencies around GraphQL, MCP or a websocket ran; unset without such dependencies."""


def running_context() -> Context | None:
    """Return the current call, or None outside a call."""
    return _current.get(None)


def current_context() -> Context:
    """Return the current call; works at any depth and in worker threads.

    Errors: ServeyError outside a call.
    """
    try:
        return _current.get()
    except LookupError:
        raise ServeyError("No action is running; call current_context() only in code that an action calls") from None


_running: list[Process] = []
_created: list[ref[Process]] = []


def note_running(runtime: Process) -> None:
    """Register a running app, so that code outside a call finds it; `forget_running` removes it."""
    _running.append(runtime)


def forget_running(runtime: Process) -> None:
    """Remove an app that `note_running` registered."""
    _running.remove(runtime)


def running_processes() -> list[Process]:
    """Return every app that runs in this process."""
    return list(dict.fromkeys(_running))


def note_created(process: Process) -> None:
    """Register an app, so that code of a host can publish even if its lifespan does not run."""
    _created[:] = [*(each for each in _created if each() is not None), ref(process)]


def current_process(owns: Callable[[Process], bool] = lambda process: True) -> Process:
    """Return the app of the current call, or else the only running app for which ``owns`` is true; without a running app,
    the latest one that was created.

    Errors: ServeyError if there is no such app, or more than one runs.
    """
    context = running_context()
    if context is not None:
        return context.runtime
    if len(_running) == 1:
        return _running[0]
    running = running_processes()
    candidates = [process for process in running if owns(process)] or running
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ServeyError(f"{len(candidates)} Servey apps run in this process; publish or enqueue in an action of one")
    for process in reversed([each() for each in _created]):
        if process is not None and owns(process):
            return process
    raise ServeyError(
        "No Servey app is running in this process; publish or enqueue from an action or while an app runs"
    )


def enqueue(
    action: Callable[..., Any] | str,
    params: Mapping[str, Any] | None = None,
    *,
    delay: float = 0,
    key: str | None = None,
    on_success: bool = False,
    unique_for: float | None = None,
) -> Submitted[str]:
    """Enqueue a call of an action as a job, from anywhere. Await the result for the job id; a plain ``def`` in a worker
    thread reads it from ``value``.

    In a call this is `Context.enqueue`. Elsewhere, e.g. in a host's own route or a script, the app itself
    enqueues: access control does not apply and the job has no `Authorization`.
    Units: ``delay`` in seconds.
    Errors: those of `Context.enqueue`; ServeyError without an app, if several apps that have the action run, or for
    ``on_success`` outside a call.
    """
    context = running_context()
    if context is None:
        if on_success:
            raise ServeyError(no_call_to_wait_for("enqueue"))
        process = current_process(lambda process: any(_is_action(each, action) for each in process.catalog))
        context = Context(process, "cli", request_id="", trusted=True)
    return context.enqueue(action, params, delay=delay, key=key, unique_for=unique_for, on_success=on_success)


def no_call_to_wait_for(what: str) -> str:
    """Return the problem of ``on_success`` outside a call."""
    return f"{what}(on_success=True) waits for a call, and no action is running; omit it there, after the commit"


def cancel(job_id: str) -> Submitted[bool]:
    """Cancel a job, from anywhere. Await the result: False if no such job is queued or running; a plain ``def`` in a worker
    thread reads it from ``value``.

    A queued job never starts. A running ``async`` action is cancelled within a second, on whichever worker it runs; a plain
    ``def`` reads `Context.cancelled`. Either way the job ends as ``cancelled`` and is not tried again. Who may cancel the
    job is not checked: the caller of this function decides.
    Errors: Overloaded while the queue does not answer; ServeyError without an app, or if several apps run.
    """
    return current_process().cancel_job(job_id)


def _is_action(each: Any, action: Callable[..., Any] | str) -> bool:
    return each.name == action if isinstance(action, str) else each in (action, getattr(action, "servey_action", None))
