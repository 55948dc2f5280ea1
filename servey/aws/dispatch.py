"""Dispatch every kind of Lambda event to an app.

The code for a kind of event is imported with the first such event, so that it does not delay every cold start.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import FastAPI

from servey.aws.calls import CallFailed, call, call_directly, within
from servey.aws.claims import GatewayAuthorizer
from servey.aws.events import Kind, direct_call, kind_of
from servey.aws.http import Requests, StreamSink, seconds_left
from servey.core.actions import Action
from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.http.guarded import has_guards
from servey.http.tokens import is_default
from servey.observability.logs import installed_writer, log_as_json
from servey.runtime.runtime import Runtime

if TYPE_CHECKING:
    from servey.aws.appsync import FieldFinder
    from servey.aws.records import Perform
    from servey.aws.sockets import Frames

logger: logging.Logger = logging.getLogger("servey")

EventHandler: TypeAlias = Callable[[Any, Any, str], Any]
"""Handles one kind of event. Arguments: the event, Lambda's context, the request id."""

NO_QUEUE = "servey.aws.queue:no_queue_of"
"""The part that refuses jobs, since Lambda would freeze a worker in the process."""

UNGUARDED = (
    "The dependencies of the app guard its routes, and AppSync and the websockets of API Gateway cannot run them; "
    "check callers by access rules, or by dependencies of actions"
)
_DEFAULT_SECONDS = 60.0
"""The time for a batch of messages if there is no Lambda context."""


@dataclass(frozen=True)
class TransportHooks:
    """The job, websocket and GraphQL functions of other transports that the dispatcher uses."""

    perform: Perform
    frames: Callable[[], Frames]
    fields: Callable[[Runtime], FieldFinder]


class LambdaHandler:
    """The Lambda handler. The app's lifespan starts with the first event and lasts as long as the process.

    Everything runs on one event loop. It does not run between events, when Lambda freezes the process.
    """

    def __init__(self, app: FastAPI, runtime: Runtime, hooks: TransportHooks) -> None:
        self.app = app
        self.runtime = runtime
        self.action: Action | None = _only_action(runtime)
        self._hooks = hooks
        self._lifespan = AsyncExitStack()
        self._requests: Requests | None = None
        self._authorizer: GatewayAuthorizer | None = None
        if runtime.settings.aws_authorizer is not None:
            if not is_default(runtime.token_source):
                raise ConfigError(
                    "SERVEY_AWS_AUTHORIZER needs the default part token_source, because its claims take the place of the "
                    "token in the Authorization header; remove one of them"
                )
            runtime.authorizer = self._authorizer = GatewayAuthorizer(runtime.authorizer, runtime.settings.jwt_leeway)
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self._fields: FieldFinder | None = None
        self._handlers: Mapping[Kind, EventHandler] = {
            "http": self._http,
            "direct": self._direct,
            "params": self._params,
            "sqs": self._sqs,
            "websocket": self._socket,
            "appsync": self._appsync,
            "appsync_batch": self._appsync_batch,
            "warmup": self._warmup,
        }

    def __call__(self, event: Any, lambda_context: Any = None) -> Any:
        """Return the response to one event. Errors: UnknownEvent; CallFailed for a failed call that is not over HTTP."""
        kind = kind_of(event, plain_params=self.action is not None)
        with self._running():
            return self._handlers[kind](event, lambda_context, str(getattr(lambda_context, "aws_request_id", "") or ""))

    def stream(self, event: Any, lambda_context: Any, response: StreamSink) -> None:
        """Answer a request to a Function URL; the response is sent while the app makes it."""
        with self._running():
            assert self._requests is not None
            self.run(self._requests.stream(event, lambda_context, response))

    @contextmanager
    def _running(self) -> Iterator[None]:
        asyncio.set_event_loop(self.loop)  # Mangum uses the event loop of the thread
        self.start()
        try:
            yield
        finally:
            # Lambda freezes the process, and with it the thread that writes the log.
            writer = installed_writer()
            if writer is not None:
                writer.flush()

    def start(self) -> None:
        """Start the app's lifespan, if it has not started."""
        if self._requests is not None:
            return
        _log_as_json_in_lambda(self.runtime.settings)
        if self._offers_later():
            logger.info(
                "this function has no job queue, so requests with `Prefer: respond-async` get 501; set SERVEY_QUEUE_URL"
            )
        state = self.run(self._lifespan.enter_async_context(self.app.router.lifespan_context(self.app)))
        self._requests = Requests(self.app, state or {}, self._authorizer, self.runtime.settings.token_schemes[0])

    def close(self) -> None:
        """End the app's lifespan. Tests call this; Lambda stops a process without notice."""
        self.run(self._lifespan.aclose())
        self._requests = None
        asyncio.set_event_loop(None)
        self.loop.close()

    def run(self, work: Any) -> Any:
        """Run a coroutine on the handler's event loop and return its result."""
        return self.loop.run_until_complete(work)

    def _offers_later(self) -> bool:
        """Whether a client can ask for a job that no queue would take."""
        queue = self.runtime.parts.queue
        return queue == NO_QUEUE and any("respond-async" not in action.hidden for action in self.runtime.catalog)

    def _warmup(self, event: Any, lambda_context: Any, request_id: str) -> None:
        """Do nothing: the app has started."""

    def _http(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        assert self._requests is not None
        return self._requests(event, lambda_context)

    def _direct(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        wanted = direct_call(event) or {}
        return self.run(within(seconds_left(lambda_context), call_directly(self.runtime, wanted, request_id)))

    def _params(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        assert self.action is not None
        return self.run(within(seconds_left(lambda_context), call(self.runtime, self.action, event, request_id)))

    def _appsync(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        from servey.aws.appsync import answer_field

        return self.run(
            within(seconds_left(lambda_context), answer_field(self.runtime, self._find(), event, request_id))
        )

    def _appsync_batch(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        from servey.aws.appsync import answer_fields

        return self.run(
            within(seconds_left(lambda_context), answer_fields(self.runtime, self._find(), event, request_id))
        )

    @cached_property
    def _has_guards(self) -> bool:
        return has_guards(self.app)

    def _find(self) -> FieldFinder:
        """Return what finds the fields of AppSync. Errors: CallFailed."""
        if self._has_guards:
            logger.error("a field of AppSync was refused: %s", UNGUARDED)
            raise CallFailed(f"{UNGUARDED} (forbidden)")
        if self._fields is None:
            self._fields = self._hooks.fields(self.runtime)
        return self._fields

    def _sqs(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        from servey.aws.records import run_records

        seconds = seconds_left(lambda_context) or _DEFAULT_SECONDS
        return self.run(run_records(self.runtime, self._hooks.perform, event["Records"], seconds))

    def _socket(self, event: Any, lambda_context: Any, request_id: str) -> Any:
        from servey.aws.sockets import answer_socket

        if event["requestContext"]["eventType"] == "CONNECT" and self._has_guards:
            logger.error("a websocket was refused: %s", UNGUARDED)
            return {"statusCode": 403}
        return self.run(answer_socket(self.runtime, self._hooks.frames(), event))


def _log_as_json_in_lambda(settings: Settings) -> None:
    """Write JSON lines, the access log included, unless the app has configured its own logging."""
    handlers = logging.getLogger().handlers
    is_own = any(type(each).__name__ not in ("LambdaLoggerHandler", "LogWriter") for each in handlers)
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ and settings.logs_json and not is_own:
        log_as_json(settings.log_level)
        logging.getLogger("mangum.http").setLevel(logging.WARNING)  # it repeats the access log


def _only_action(runtime: Runtime) -> Action | None:
    name = runtime.settings.aws_action
    if name is not None and name not in runtime.catalog:
        raise ConfigError(f"SERVEY_AWS_ACTION is '{name}', but there is no action with that name")
    return runtime.catalog[name] if name is not None else None
