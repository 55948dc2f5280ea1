"""One function for every event that AWS sends to an app."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastapi import FastAPI

from servey.actions import Action
from servey.aws.appsync import answer_field, answer_fields
from servey.aws.calls import call, call_directly, within
from servey.aws.events import Kind, kind_of
from servey.aws.http import Requests, seconds_left
from servey.aws.records import Perform, run_records
from servey.aws.sockets import Frames, answer_socket
from servey.errors import ConfigError
from servey.runtime import Runtime

logger = logging.getLogger("servey")

Answering: TypeAlias = Callable[[Any, Any, str], Any]
"""Answers one kind of event, given with Lambda's context and its request's id."""


_SECONDS = 60.0


@dataclass(frozen=True)
class Others:
    """What other transports have, and what is done here as it is done there."""

    perform: Perform
    frames: Frames


class LambdaHandler:
    """Answers Lambda events for as long as its process lives; the app's lifespan begins with the first of them.

    Everything runs on one event loop, which stands still between events, as the process does.
    """

    def __init__(self, app: FastAPI, runtime: Runtime, others: Others) -> None:
        self.app = app
        self.runtime = runtime
        self.action = _only_action(runtime)
        self._others = others
        self.loop = asyncio.new_event_loop()
        self._lifespan = AsyncExitStack()
        self._requests: Requests | None = None
        self._answering: Mapping[Kind, Answering] = {
            "http": self._http,
            "direct": self._direct,
            "params": self._params,
            "sqs": self._sqs,
            "websocket": self._socket,
            "appsync": self._appsync,
            "appsync_batch": self._appsync_batch,
        }

    def __call__(self, event: Any, lambda_context: Any = None) -> Any:
        """The answer to one event. Errors: UnknownEvent; CallFailed for a call that failed and has no caller over HTTP."""
        kind = kind_of(event, plain_params=self.action is not None)
        asyncio.set_event_loop(self.loop)  # Mangum asks for the thread's
        self.start()
        return self._answering[kind](event, lambda_context, str(getattr(lambda_context, "aws_request_id", "") or ""))

    def start(self) -> None:
        """Begins the app's lifespan, unless it has begun."""
        if self._requests is not None:
            return
        state = self.run(self._lifespan.enter_async_context(self.app.router.lifespan_context(self.app)))
        self._requests = Requests(self.app, state or {})

    def close(self) -> None:
        """Ends the app's lifespan. Lambda itself ends a process without a word; tests do not."""
        self.run(self._lifespan.aclose())
        self._requests = None
        asyncio.set_event_loop(None)
        self.loop.close()

    def run(self, work: Any) -> Any:
        """The result of a coroutine, on the handler's own loop."""
        return self.loop.run_until_complete(work)

    def _http(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        assert self._requests is not None
        return self._requests(event, lambda_context)

    def _direct(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        return self.run(within(seconds_left(lambda_context), call_directly(self.runtime, event["servey"], request_id)))

    def _params(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        assert self.action is not None
        return self.run(within(seconds_left(lambda_context), call(self.runtime, self.action, event, request_id)))

    def _appsync(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        return self.run(within(seconds_left(lambda_context), answer_field(self.runtime, event, request_id)))

    def _appsync_batch(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        return self.run(within(seconds_left(lambda_context), answer_fields(self.runtime, event, request_id)))

    def _sqs(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        seconds = seconds_left(lambda_context) or _SECONDS
        return self.run(run_records(self.runtime, self._others.perform, event["Records"], seconds))

    def _socket(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        return self.run(answer_socket(self.runtime, self._others.frames, event))


def _only_action(runtime: Runtime) -> Action | None:
    name = runtime.settings.aws_action
    if name is not None and name not in runtime.catalog:
        raise ConfigError(f"SERVEY_AWS_ACTION names '{name}', and there is no such action")
    return runtime.catalog[name] if name is not None else None
