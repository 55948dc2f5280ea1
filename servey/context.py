"""One call: who calls, through what, and until when."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from servey.access import Authorization, AuthorizationError
from servey.errors import ServeyError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servey.channels import HandedOver
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

Transport: TypeAlias = Literal[
    "rest", "page", "graphql", "websocket", "sse", "job", "schedule", "lambda", "cli", "test"
]

_UNREAD = Unauthenticated()


class Context:
    """What an action may ask of the call that it is in; annotate a parameter with it to receive it.

    Shape: ``via`` names the transport, ``request_id`` is in the logs and, over HTTP, in ``X-Request-ID``; ``trusted``
    callers (the operator's command line, the scheduler) are not asked for a token; ``resources`` is what the call holds
    open.
    Units: ``deadline`` is on the running loop's clock, in seconds, or None while no action runs; ``made_at`` is in seconds
    since 1970, when a result was made that the server had kept, or None for one that was made now; ``job_id`` is that of
    the job that calls, or None.
    """

    __slots__ = (
        "_authorization",
        "_refused",
        "_resources",
        "deadline",
        "job_id",
        "made_at",
        "request_id",
        "runtime",
        "token",
        "trusted",
        "via",
    )

    def __init__(
        self,
        runtime: Runtime,
        via: Transport,
        request_id: str,
        token: str | None = None,
        authorization: Authorization | None = None,
        trusted: bool = False,
        resources: Any = None,
    ) -> None:
        self.runtime = runtime
        self.via = via
        self.request_id = request_id
        self.token = token
        self.trusted = trusted
        self._resources = resources
        self.deadline: float | None = None
        self.made_at: float | None = None
        self.job_id: str | None = None
        # Given where it was verified before: a job's enqueuer, a socket's subscriber.
        self._authorization: Authorization | None = authorization
        self._refused: Unauthenticated | None = None if token is None else _UNREAD

    @property
    def resources(self) -> Any:
        """What the call holds open; made when it is first asked for."""
        if self._resources is None:
            self._resources = self.runtime.no_resources()
        return self._resources

    @resources.setter
    def resources(self, resources: Any) -> None:
        self._resources = resources

    @property
    def holds_resources(self) -> bool:
        """Whether there may be something to close."""
        return self._resources is not None

    def accept(self, authorization: Authorization | None) -> bool:
        """Takes what was found out of its token before, if anything was; whether that is so."""
        if authorization is None:
            return False
        self._authorization = authorization
        self._refused = None
        return True

    def another(self) -> Context:
        """The same caller's next call, which holds nothing open yet: one of several that a request makes at once."""
        made = Context.__new__(Context)
        made.runtime, made.via, made.request_id = self.runtime, self.via, self.request_id
        made.token, made.trusted = self.token, self.trusted
        made._authorization, made._refused = self._authorization, self._refused
        made._resources = made.deadline = made.made_at = made.job_id = None
        return made

    async def authorize(self) -> Authorization | None:
        """The caller's authorization, verified on first use; None for the anonymous.

        Errors: Unauthenticated where the caller shows a token that is not valid.
        """
        if self._refused is _UNREAD:
            assert self.token is not None
            try:
                self._authorization = await self.runtime.authorizer.authorize(self.token)
                self._refused = None
                note = _note.get(None)
                if note is not None:
                    note.subject = self._authorization.subject_id
            except AuthorizationError as error:
                self._refused = Unauthenticated()
                logger.info("a token was refused: %s", error, extra={"request_id": self.request_id})
        return self.authorization

    @property
    def authorization(self) -> Authorization | None:
        """The caller's authorization; None for the anonymous. An action that takes a `Context` finds it verified.

        Errors: Unauthenticated where the caller shows a token that is not valid.
        """
        if self._refused is not None:
            raise self._refused
        return self._authorization

    @property
    def subject_id(self) -> str | None:
        """Whose call it is, as far as that is known by now; for the log."""
        return self._authorization.subject_id if self._authorization is not None else None

    def enqueue(
        self,
        action: Callable[..., Any] | str,
        params: Mapping[str, Any] | None = None,
        *,
        delay: float = 0,
        key: str | None = None,
    ) -> HandedOver[str]:
        """Has an action called later, as a job, on behalf of this call's caller; await it for the job's id. A plain
        ``def`` finds the id in its ``value``.

        ``params`` are checked now, so that a mistake fails here. A ``key`` makes it once: with one that was used for this
        action before, nothing is enqueued, and the id is that of the first job.
        Units: ``delay`` in seconds.
        Errors: InvalidParams, Unauthenticated, Forbidden; ServeyError for an action that can not be called by a job.
        """
        return self.runtime.enqueue(self, action, params or {}, delay=delay, key=key)

    def progress(self, done: float, total: float | None = None) -> None:
        """Tells whoever looks at this job how far it has come; in a call that is no job it does nothing."""
        if self.job_id is not None:
            self.runtime.report_progress(self.job_id, done, total)

    def __repr__(self) -> str:
        return f"Context(via={self.via!r}, request_id={self.request_id!r}, trusted={self.trusted})"


_current: ContextVar[Context] = ContextVar("servey_context")
_note: ContextVar[Any] = ContextVar("servey_note")
"""What an observer notes of the request that this code runs in; nothing where no one observes."""


def running_context() -> Context | None:
    """The call that this code runs in; None outside of any call."""
    return _current.get(None)


def current_context() -> Context:
    """The call that this code runs in, from any depth and from a worker thread too.

    Errors: ServeyError outside of any call.
    """
    try:
        return _current.get()
    except LookupError:
        raise ServeyError("No action is running here; current_context() is for code that an action calls") from None


_running: list[Runtime] = []


def note_running(runtime: Runtime) -> None:
    """Lets code outside of any call find a running app; `forget_running` takes it back."""
    _running.append(runtime)


def forget_running(runtime: Runtime) -> None:
    """Takes back what `note_running` has noted."""
    _running.remove(runtime)


def running_runtimes() -> list[Runtime]:
    """Every app that this process runs."""
    return list(dict.fromkeys(_running))


def current_runtime() -> Runtime:
    """The app that this code runs in: that of the current call, else the only one that this process runs.

    Errors: ServeyError where none runs, or more than one.
    """
    context = running_context()
    if context is not None:
        return context.runtime
    running = running_runtimes()
    if len(running) == 1:
        return running[0]
    if not running:
        raise ServeyError("No Servey app is running in this process; publish from an action, or while an app runs")
    raise ServeyError(
        f"{len(running)} Servey apps run in this process; publish from an action of the one that is meant"
    )
