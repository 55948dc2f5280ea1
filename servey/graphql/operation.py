"""One GraphQL operation while it runs: who calls, what its actions hold open, how many objects it has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.types import Receive, Scope

from servey.actions import Action
from servey.context import Context
from servey.dependencies import Resources
from servey.errors import ActionError
from servey.invoke import Plan

if TYPE_CHECKING:
    from servey.graphql.batches import Batch


class LimitExceeded(ActionError):
    """An operation that is over one of its limits."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, "limit_exceeded", detail)


class Operation:
    """What the fields of an operation share. Each action that it calls is a call of its own, in a context of its own.

    Shape: ``scope`` and ``receive`` are those of the HTTP request that it came with.
    """

    def __init__(self, context: Context, scope: Scope, receive: Receive, max_nodes: int) -> None:
        self.context = context
        self.scope = scope
        self.receive = receive
        self.nodes = 0
        self.exceeded: LimitExceeded | None = None
        self.batches: dict[Action, Batch] = {}
        self._max_nodes = max_nodes
        self._open: list[Resources] = []

    def begin(self, plan: Plan) -> Context:
        """The context of one more call of an action."""
        if self.exceeded is not None:
            raise self.exceeded
        context = self.context.another()
        if plan.injection is not None:
            request = Request({**self.scope, "state": dict(self.scope.get("state", {}))}, self.receive)
            context.resources = Resources(request=request, app=self.context.runtime.app)
        return context

    def end(self, context: Context) -> None:
        """Keeps what a call holds open until the answer is out."""
        if context.holds_resources:
            self._open.append(context.resources)

    def event(self) -> Operation:
        """The same for one event of a subscription."""
        return Operation(self.context, self.scope, self.receive, self._max_nodes)

    def count(self, objects: int) -> None:
        """Counts objects of the answer. Errors: LimitExceeded."""
        self.nodes += objects
        if self.nodes > self._max_nodes:
            self.has_room_for(0)

    def one(self, value: Any) -> Any:
        """Counts one object, and gives it back."""
        self.count(1)
        return value

    def has_room_for(self, objects: int) -> None:
        """Errors: LimitExceeded where the answer can not have so many more objects."""
        if self.nodes + objects > self._max_nodes:
            if self.exceeded is None:
                self.exceeded = LimitExceeded(f"The answer has more than {self._max_nodes} objects; ask for fewer")
            raise self.exceeded

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that its actions or their dependencies have set on an injected ``Response``."""
        return [pair for each in self._open if each.response is not None for pair in each.response.raw_headers]

    async def __aenter__(self) -> Operation:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._open:
            await self.close(error)

    async def close(self, failure: BaseException | None = None) -> None:
        """Runs background tasks and closes what the calls hold open, the last one first."""
        error: BaseException | None = None
        while self._open:
            try:
                await self._open.pop().close(failure)
            except BaseException as raised:
                error = raised
        if error is not None:
            raise error
