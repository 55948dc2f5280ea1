"""Runs documents: for one request at a time an answer, for a subscription one after another."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from graphql import ExecutionResult, GraphQLError, GraphQLSchema, OperationType
from starlette.types import Receive, Scope, Send

from servey.compat.graphql import create_source_event_stream
from servey.context import Context
from servey.errors import ActionError, Unauthenticated
from servey.graphql.completion import CompilingExecutor, is_awaitable
from servey.graphql.documents import BadDocument, Document, Documents
from servey.graphql.failures import INVALID_DOCUMENT, INVALID_PARAMS, document_failures, field_failure, request_failure
from servey.graphql.fields import Fields
from servey.graphql.operation import LimitExceeded, Operation
from servey.graphql.requests import Asked
from servey.graphql.resolvers import resolver_of
from servey.graphql.schema import build_schema
from servey.runtime import Runtime

logger = logging.getLogger("servey")

Serve: TypeAlias = "Callable[[Engine, Scope, Receive, Send], Awaitable[None]]"

Answer: TypeAlias = dict[str, Any]
"""A response of GraphQL: ``data``, ``errors``."""


class Engine:
    """The schema of an app, and what runs its documents."""

    def __init__(self, runtime: Runtime, fields: Fields, *, http: Serve, websocket: Serve) -> None:
        self.runtime = runtime
        self._http = http
        self._websocket = websocket
        self.schema: GraphQLSchema = build_schema(fields, lambda each: resolver_of(runtime, each))
        self._documents = Documents(self.schema, runtime.settings)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or serves a websocket."""
        await (self._websocket if scope["type"] == "websocket" else self._http)(self, scope, receive, send)

    def document(self, asked: Asked) -> Document | Answer:
        """What was asked for, or why it can not be run."""
        try:
            return self._documents.get(asked.query)
        except LimitExceeded as error:
            return request_failure(error)
        except BadDocument as error:
            return document_failures(error.errors)

    async def begin(self, context: Context, scope: Scope, receive: Receive) -> Operation:
        """An operation to run; whoever runs it closes it, with the error that has ended it."""
        if context.token is not None:
            # Asked once for all of the actions; one that wants no caller never minds a bad token.
            try:
                await context.authorize()
            except Unauthenticated:
                pass
        return Operation(context, scope, receive, self.runtime.settings.graphql_max_nodes)

    async def execute(self, document: Document, asked: Asked, operation: Operation) -> Answer:
        """The answer to a query or a mutation."""
        executor = self._executor(document, asked, operation)
        if not isinstance(executor, CompilingExecutor):
            return executor
        observer, kind = self.runtime.observer, document.kind(asked.operation_name)
        if observer is None or observer.tracer is None or kind is None:
            return await self._result(executor, operation)
        with observer.operating(kind.value, asked.operation_name):
            return await self._result(executor, operation)

    async def subscribe(self, document: Document, asked: Asked, operation: Operation) -> AsyncIterator[Answer] | Answer:
        """The answers to a subscription, one for each event, or why there are none."""
        executor = self._executor(document, asked, operation)
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
                event = operation.event()
                one: Any = executor.build_per_event_executor(item)
                one.context_value = event
                try:
                    yield await self._result(one, event, serially=False)
                finally:
                    await event.close()
        except ActionError as error:
            yield request_failure(error)
        except Exception as error:
            yield {"errors": [field_failure(GraphQLError("", original_error=error), operation.context.request_id)]}
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def _executor(self, document: Document, asked: Asked, operation: Operation) -> CompilingExecutor | Answer:
        made: Any = CompilingExecutor.build(
            self.schema,
            document.node,
            None,
            operation,
            asked.variables,
            asked.operation_name,
            is_awaitable=is_awaitable,
            hide_suggestions=not self.runtime.settings.serves_docs,
        )
        if isinstance(made, list):
            known = document.kind(asked.operation_name) is not None
            return document_failures(made, INVALID_PARAMS if known else INVALID_DOCUMENT)
        made.plans = document.plans
        return made  # type: ignore[no-any-return]

    async def _result(self, executor: Any, operation: Operation, serially: bool | None = None) -> Answer:
        result: Any = executor.execute_operation(serially)
        if is_awaitable(result):
            result = await result
        if operation.exceeded is not None:
            return request_failure(operation.exceeded) | {"data": None}
        answer: Answer = {"data": result.data}
        if result.errors:
            answer["errors"] = self._failures(result.errors, operation)
        return answer

    def _failures(self, errors: list[GraphQLError], operation: Operation) -> list[Mapping[str, Any]]:
        return [field_failure(error, operation.context.request_id) for error in errors]


def is_subscription(document: Document, asked: Asked) -> bool:
    """Whether what is asked for is a subscription."""
    return document.kind(asked.operation_name) is OperationType.SUBSCRIPTION


def is_mutation(document: Document, asked: Asked) -> bool:
    """Whether what is asked for is a mutation."""
    return document.kind(asked.operation_name) is OperationType.MUTATION
