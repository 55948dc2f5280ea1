"""Executes operations: one response for a query or mutation, a stream of responses for a subscription."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from graphql import ExecutionResult, GraphQLError, GraphQLSchema, OperationType
from starlette.types import Receive, Scope, Send

from servey.calls.ids import new_request_id
from servey.compat.graphql import create_source_event_stream
from servey.core.context import Context
from servey.core.errors import ActionError, Overloaded
from servey.graphql.execution.completion import CompilingExecutor, is_awaitable
from servey.graphql.execution.concurrency import OneAtATime
from servey.graphql.execution.documents import BadDocument, Document, Documents
from servey.graphql.execution.limits import LimitExceeded
from servey.graphql.execution.operation import Operation, verify_token
from servey.graphql.execution.resolvers import resolver_of
from servey.graphql.execution.single import single_field
from servey.graphql.failures import INVALID_DOCUMENT, INVALID_PARAMS, document_failures, field_failure, request_failure
from servey.graphql.requests import GraphQLRequest, has_many_values
from servey.graphql.schema.build import build_schema
from servey.graphql.schema.fields import Fields
from servey.http.errors import shown_error
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

Serve: TypeAlias = "Callable[[Engine, Scope, Receive, Send], Awaitable[None]]"

Answer: TypeAlias = dict[str, Any]
"""A GraphQL response: ``data``, ``errors``."""


class Socket(Protocol):
    """An open websocket."""

    @property
    def is_idle(self) -> bool:
        """Whether it has no running operation."""
        ...

    def evict(self) -> None:
        """Close it, because too many are open."""


class Engine:
    """The schema of an app and its document cache."""

    def __init__(self, runtime: Runtime, fields: Fields, *, http: Serve, websocket: Serve) -> None:
        self.runtime = runtime
        self._http = http
        self._websocket = websocket
        self.schema: GraphQLSchema = build_schema(fields, lambda each: resolver_of(runtime, each))
        self._documents = Documents(self.schema, runtime.settings)
        self._large = OneAtATime("The server reads other large variables at the moment; try again shortly")
        self._subscriptions = 0
        self.sockets: dict[Socket, None] = {}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or a websocket."""
        await (self._websocket if scope["type"] == "websocket" else self._http)(self, scope, receive, send)

    @contextmanager
    def count_subscription(self) -> Iterator[None]:
        """Count one open subscription. Errors: Overloaded."""
        if self._subscriptions >= self.runtime.settings.channel_connections:
            raise Overloaded("Too many subscriptions are open in this process; try again later")
        self._subscriptions += 1
        try:
            yield
        finally:
            self._subscriptions -= 1

    def add_socket(self, socket: Socket) -> None:
        """Add an open websocket. Over the limit, close the oldest one without an operation."""
        self.sockets[socket] = None
        if len(self.sockets) > self.runtime.settings.channel_connections:
            idle = next((each for each in self.sockets if each.is_idle and each is not socket), None)
            if idle is not None:
                del self.sockets[idle]
                idle.evict()

    def document(self, request: GraphQLRequest) -> Document | Answer:
        """Return the document, or the error response if it is invalid."""
        try:
            return self._documents.get(request.query)
        except LimitExceeded as error:
            return self.failure(error)
        except BadDocument as error:
            return document_failures(error.errors)

    def failure(self, error: ActionError, operation: Operation | None = None) -> Answer:
        """Return the response to an operation that ended with an error."""
        request_id = new_request_id() if operation is None else operation.context.request_id
        return request_failure(shown_error(error, self.runtime, request_id, "graphql")[0])

    async def start_operation(self, context: Context, scope: Scope, receive: Receive) -> Operation:
        """Start an operation. The caller must close it, with the exception if it failed."""
        await verify_token(context)
        settings = self.runtime.settings
        return Operation(context, scope, receive, settings.graphql_max_nodes, settings.graphql_concurrency)

    async def execute(self, document: Document, request: GraphQLRequest, operation: Operation) -> Answer:
        """Return the response to a query or a mutation."""
        observer, name = self.runtime.observer, request.operation_name
        is_traced = observer is not None and observer.tracer is not None
        single = document.singles.get(name)
        given = None if single is None or is_traced else single.given(request.variables)
        if single is not None and given is not None:
            answer = await single.answer(given, operation)
            if answer is not None:
                return answer
        executor = await self._executor_of(document, request, operation)
        if not isinstance(executor, CompilingExecutor):
            return executor
        try:
            kind = document.kind(name)
            if observer is None or observer.tracer is None or kind is None:
                return await self._result(executor, operation)
            with observer.operating(kind.value, name):
                return await self._result(executor, operation)
        finally:
            executor.unlink()

    async def subscribe(
        self, document: Document, request: GraphQLRequest, operation: Operation
    ) -> AsyncIterator[Answer] | Answer:
        """Return one response for each event of a subscription, or an error response."""
        executor = await self._executor_of(document, request, operation)
        if not isinstance(executor, CompilingExecutor):
            return executor
        source: Any = create_source_event_stream(executor)
        if is_awaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            return {"errors": self._failures(source.errors or [], operation)}
        return self._events(executor, source, operation)

    async def _events(
        self, executor: CompilingExecutor, source: AsyncIterator[Any], operation: Operation
    ) -> AsyncIterator[Answer]:
        try:
            async for item in source:
                event = await operation.for_event()
                if operation.needs_caller and operation.context.token is not None:
                    event.require_valid_token()
                one: Any = executor.build_per_event_executor(item)
                one.context_value = event
                try:
                    yield await self._result(one, event, serially=False)
                finally:
                    await event.close()
        except ActionError as error:
            yield self.failure(error, operation)
        except Exception as error:
            yield {"errors": self._failures([GraphQLError("", original_error=error)], operation)}
        finally:
            executor.unlink()
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    async def _executor_of(
        self, document: Document, request: GraphQLRequest, operation: Operation
    ) -> CompilingExecutor | Answer:
        if not has_many_values(request.variables):
            return self._executor(document, request, operation)
        # graphql-core takes about ten microseconds per value; a thread keeps the event loop responsive.
        return await self._large.run(lambda: self._executor(document, request, operation))

    def _executor(
        self, document: Document, request: GraphQLRequest, operation: Operation
    ) -> CompilingExecutor | Answer:
        made: Any = CompilingExecutor.build(
            self.schema,
            document.node,
            None,
            operation,
            request.variables,
            request.operation_name,
            is_awaitable=is_awaitable,
            hide_suggestions=not self.runtime.settings.serves_docs,
        )
        if isinstance(made, list):
            known = document.kind(request.operation_name) is not None
            return document_failures(made, INVALID_PARAMS if known else INVALID_DOCUMENT)
        made.plans = document.plans
        _compile_second(document, request.operation_name, made)
        return made  # type: ignore[no-any-return]

    async def _result(self, executor: Any, operation: Operation, serially: bool | None = None) -> Answer:
        result: Any = executor.execute_operation(serially)
        if is_awaitable(result):
            result = await result
        if operation.exceeded is not None:
            return self.failure(operation.exceeded, operation) | {"data": None}
        answer: Answer = {"data": result.data}
        if result.errors:
            answer["errors"] = self._failures(result.errors, operation)
        return answer

    def _failures(self, errors: list[GraphQLError], operation: Operation) -> list[Mapping[str, Any]]:
        return [field_failure(error, self.runtime, operation.context.request_id) for error in errors]


def _compile_second(document: Document, name: str | None, executor: CompilingExecutor) -> None:
    """Compile an operation that is requested for the second time: most documents that come once never come again."""
    if name not in document.requested:
        document.requested.add(name)
    elif name not in document.singles:
        document.singles[name] = single_field(executor)


def is_subscription(document: Document, request: GraphQLRequest) -> bool:
    """Whether the request is for a subscription."""
    return document.kind(request.operation_name) is OperationType.SUBSCRIPTION


def is_mutation(document: Document, request: GraphQLRequest) -> bool:
    """Whether the request is for a mutation."""
    return document.kind(request.operation_name) is OperationType.MUTATION
