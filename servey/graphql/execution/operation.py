"""The state of one running operation: caller, open resources, node budget."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.types import Receive, Scope

from servey.calls.invoke import Plan
from servey.calls.resources import Resources
from servey.core.actions import Action
from servey.core.context import Context
from servey.core.errors import ActionError, Unauthenticated
from servey.graphql.execution.batches import Batch
from servey.graphql.execution.limits import LimitExceeded


async def verify_token(context: Context) -> None:
    """Verify the token once for all actions. Only an action that needs a caller rejects a bad token."""
    if context.token is not None:
        try:
            await context.authorize()
        except Unauthenticated:
            pass


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the call of a root field returned or raised, for graphql-core to complete it."""

    value: Any = None
    error: Exception | None = None

    def take(self) -> Any:
        """Return the value. Errors: that of the call."""
        if self.error is not None:
            raise self.error
        return self.value


class Operation:
    """What the fields of one operation share. Each action call gets its own context.

    Shape: ``scope`` and ``receive`` belong to the HTTP request of the operation; ``needs_caller`` is set if a root field
    rejects anonymous callers; ``outcome`` is that of the only root field if it has been called already.
    """

    def __init__(
        self, context: Context, scope: Scope, receive: Receive, max_nodes: int, concurrency: int | None = None
    ) -> None:
        self.context = context
        self.scope = scope
        self.receive = receive
        self.nodes: int = 0
        self.calls: int = 0
        self.needs_caller: bool = False
        self.exceeded: LimitExceeded | None = None
        self.outcome: Outcome | None = None
        self.batches: dict[Action, Batch] = {}
        self._max_nodes = max_nodes
        self._concurrency = concurrency
        self._is_stopped = False
        self._slots = asyncio.Semaphore(concurrency) if concurrency is not None else None
        self._open: list[Resources] = []

    @property
    def limits_calls(self) -> bool:
        """Whether a call has to wait for a slot."""
        return self._slots is not None

    def slot(self) -> AbstractAsyncContextManager[Any]:
        """Return a context manager that limits how many calls run at once."""
        return self._slots if self._slots is not None else nullcontext()

    def count_calls(self, calls: int) -> None:
        """Count calls of methods. Errors: LimitExceeded."""
        self.calls += calls
        if self.calls > self._max_nodes:
            self.exceed(f"The operation calls more than {self._max_nodes} fields; request fewer")

    def exceed(self, detail: str) -> NoReturn:
        """End the operation: every further call fails. Errors: LimitExceeded."""
        if self.exceeded is None:
            self.exceeded = LimitExceeded(detail)
        raise self.exceeded

    def stop(self) -> None:
        """Cancel the operation: no further call starts."""
        self._is_stopped = True

    def start_call(self, plan: Plan) -> Context:
        """Return a new context for one action call."""
        if self.exceeded is not None:
            raise self.exceeded
        if self._is_stopped:
            raise ActionError(503, "cancelled", "The operation was cancelled")
        context = self.context.another()
        runtime = context.runtime
        if plan.injection is not None or runtime.job_owner is not None:
            # A request of its own, since its `state` is that of one call.
            scope = {**self.scope, "state": dict(self.scope.get("state", {}))}
            request = None if runtime.job_owner is None else Request(scope, self.receive)
            context.resources = Resources(
                request=request, scope=scope, receive=self.receive, app=runtime.app, closes_elsewhere=True
            )
        return context

    def defer_close(self, context: Context) -> None:
        """Keep the resources of a call open until the response is sent."""
        if context.holds_resources:
            self._open.append(context.resources)

    async def for_event(self) -> Operation:
        """Return the operation for one event of a subscription, with its own budget and resources.

        The token is verified again, since it may have expired.
        """
        old = self.context
        context = Context(old.runtime, "graphql", request_id=old.request_id, token=old.token)
        await verify_token(context)
        return Operation(context, self.scope, self.receive, self._max_nodes, self._concurrency)

    def require_valid_token(self) -> None:
        """Errors: Unauthenticated if the token is invalid or has expired."""
        try:
            self.context.authorization  # noqa: B018 - raises
        except Unauthenticated:
            raise Unauthenticated("The token has expired") from None

    def count(self, objects: int) -> None:
        """Count objects of the response. Errors: LimitExceeded."""
        self.nodes += objects
        if self.nodes > self._max_nodes:
            self.require_room_for(0)

    def counted(self, value: Any) -> Any:
        """Count one object and return it."""
        self.count(1)
        return value

    def require_room_for(self, objects: int) -> None:
        """Check that this number of objects still fits into the budget. Errors: LimitExceeded."""
        if self.nodes + objects > self._max_nodes:
            self.exceed(f"The response has more than {self._max_nodes} objects; request fewer")

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that actions and dependencies set on an injected ``Response``."""
        return [pair for each in self._open if each.response is not None for pair in each.response.raw_headers]

    async def __aenter__(self) -> Operation:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._open or self.batches:
            await self.close(error)

    async def close(self, failure: BaseException | None = None) -> None:
        """Run background tasks and close the resources of all calls in reverse order."""
        for batch in self.batches.values():
            await batch.close()
        error: BaseException | None = None
        while self._open:
            try:
                await self._open.pop().close(failure)
            except BaseException as raised:
                error = raised
        if error is not None:
            raise error
