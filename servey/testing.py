"""For the tests of a project: a client for its app, and tests made of its actions' examples.

An example runs through the action's real transports, validation, access rule and serialization included; never the bare
function.
"""

from __future__ import annotations

import asyncio
import re
import unittest
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from pydantic_core import from_json, to_jsonable_python
from starlette.responses import Response
from starlette.testclient import TestClient, WebSocketTestSession

from servey.access import Authorization, required_scopes
from servey.actions import Action, Example
from servey.app import Servey, create_app
from servey.errors import ActionError, ConfigError
from servey.invoke import Stream, invoke
from servey.jobs.memory import MemoryQueue
from servey.jobs.schedule import triggers_of
from servey.queues import ONE_TRY, Job
from servey.routers.rest import path_of
from servey.settings import Settings
from servey.tokens import JwtAuthorizer
from servey.triggers import BODY_METHODS, WebTrigger

_TOKEN_SECONDS = 3600


@contextmanager
def client(app: Any, *, authorization: Authorization | None = None) -> Iterator[TestClient]:
    """An HTTP client for an app whose lifespan runs meanwhile; with an ``authorization``, its bearer.

    What goes wrong in an action comes back as the answer that a real client would see.
    """
    headers = {} if authorization is None else {"Authorization": f"Bearer {token_for(app, authorization)}"}
    with TestClient(app, raise_server_exceptions=False, headers=headers) as http:
        yield http


def token_for(app: Servey, authorization: Authorization) -> str:
    """A token that says this, signed by the app's own key. Errors: ConfigError where the app has no secret to sign with."""
    authorizer = app.runtime.authorizer
    if not isinstance(authorizer, JwtAuthorizer):
        raise ConfigError("this app can not sign tokens; set JWT_SECRET_KEY for the tests")
    return authorizer.sign(authorization, lifetime=_TOKEN_SECONDS)


class Subscriber:
    """A client of an event channel, connected by websocket.

    Shape: ``id`` is what a publisher reaches it by; ``cursor`` is where another one resumes after what this one has
    received, None for channels without history; ``recovered`` says whether it has resumed without a loss.
    """

    def __init__(self, socket: WebSocketTestSession, told: Mapping[str, Any]) -> None:
        self._socket = socket
        self.id: str = told["subscriber_id"]
        self.cursor: str | None = told.get("cursor")
        self.recovered: bool | None = told.get("recovered")

    def next(self) -> Any:
        """The next event, as JSON; waits for it. Errors: AssertionError where events were lost."""
        frame = self._socket.receive_json()
        if frame["type"] != "Event":
            raise AssertionError(f"expected an event, got {frame}")
        self.cursor = frame.get("cursor")
        return frame["payload"]


@contextmanager
def subscribe(
    http: TestClient, channel: str, *, after: str | None = None, subscriber_id: str | None = None
) -> Iterator[Subscriber]:
    """A subscriber of a channel, as the `client`'s bearer; ``after`` a cursor it resumes.

    Errors: AssertionError with the app's answer where it may not subscribe.
    """
    asked = {"type": "Subscribe", "payload": channel, "after": after, "subscriber_id": subscriber_id}
    with http.websocket_connect("/subscription") as socket:
        socket.send_json({name: value for name, value in asked.items() if value is not None})
        told = socket.receive_json()
        if told["type"] != "Subscribed":
            raise AssertionError(f"can not subscribe to '{channel}': {told['detail']} ({told['code']})")
        yield Subscriber(socket, told)


@dataclass(frozen=True)
class Outcome:
    """What a call gave: a JSON value, or the code of an error and what it says."""

    value: Any = None
    error: str | None = None
    detail: Any = None


@dataclass(frozen=True)
class ExampleCase:
    """One example of one action, through one transport."""

    action: Action
    example: Example
    transport: str
    call: Callable[[Servey, Action, Example, Authorization | None], Outcome]

    @property
    def id(self) -> str:
        """A name for test reports."""
        return f"{self.action.name}-{self.example.name}-{self.transport}"

    def check(self, app: Servey, authorization: Authorization | None = None) -> None:
        """Runs the example. Errors: AssertionError that names the case, what was expected and what came."""
        got = self.call(app, self.action, self.example, authorization)
        wanted = (
            Outcome(error=self.example.error) if self.example.error else Outcome(_as_json(self.action, self.example))
        )
        if (got.value, got.error) != (wanted.value, wanted.error):
            raise AssertionError(
                f"example '{self.example.name}' of action '{self.action.name}' through {self.transport}: "
                f"expected {_shown(wanted)}, got {_shown(got)}"
            )


def _shown(outcome: Outcome) -> str:
    if outcome.error is None:
        return repr(outcome.value)
    return f"the error '{outcome.error}'" + (f" ({outcome.detail})" if outcome.detail else "")


def _as_json(action: Action, example: Example) -> Any:
    """The example's result as the wire would show it, whether it is given as Python objects or as JSON."""
    if action.result is None:
        return to_jsonable_python(example.result)
    if action.signature.streams:
        return [_serialized(action, action.result.validate_python(item)) for item in example.result or ()]
    return _serialized(action, action.result.validate_python(example.result, from_attributes=True))


def _serialized(action: Action, value: Any) -> Any:
    assert action.result is not None
    return from_json(action.result.dump_json(value, by_alias=True))


def example_cases(actions: Iterable[Action]) -> list[ExampleCase]:
    """Every example that is meant for tests, with each transport that its action has."""
    actions = tuple(actions)
    called_by_jobs = {action.fn for action in actions if action.retry is not None or any(triggers_of(action))}
    cases = []
    for action in actions:
        for example in action.examples:
            if example.include_in_tests:
                cases.append(ExampleCase(action, example, "call", _through_call))
                for trigger in action.triggers:
                    if isinstance(trigger, WebTrigger):
                        name = f"{trigger.method} {path_of(action, trigger)}"
                        cases.append(ExampleCase(action, example, name, _through_rest(trigger)))
                if action.fn in called_by_jobs:
                    cases.append(ExampleCase(action, example, "job", _through_job))
    return cases


def _through_job(app: Servey, action: Action, example: Example, authorization: Authorization | None) -> Outcome:
    """A job of the app itself, in a queue inside this process."""

    async def run() -> Outcome:
        runtime = app.runtime
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(runtime.lifespan())
            queue = MemoryQueue(keep=_TOKEN_SECONDS, at_once=1, grace=action.timeout)
            await stack.enter_async_context(queue.working(runtime))
            job = Job("example", action.name, _plain_params(example), None, authorization, True, retry=ONE_TRY)
            await queue.enqueue(job)
            ended = await queue.ended(job.id)
        error = ended.error
        return Outcome(ended.result) if error is None else Outcome(error=error["code"], detail=error["detail"])

    return asyncio.run(run())


def _through_call(app: Servey, action: Action, example: Example, authorization: Authorization | None) -> Outcome:
    """A trusted call, as the command line makes it."""

    async def run() -> Outcome:
        runtime = app.runtime
        caller = authorization or (_caller(action) if runtime.plan(action).needs_token else None)
        token = token_for(app, caller) if caller is not None else None
        async with runtime.lifespan(), runtime.context("test", token=token, trusted=True) as context:
            result = await invoke(action, _plain_params(example), context)
            if isinstance(result, Stream):
                return Outcome([_serialized(action, item) async for item in result])
            if isinstance(result, Response):
                return Outcome(_body(bytes(result.body)))
            return Outcome(_serialized(action, result))

    try:
        return asyncio.run(run())
    except ActionError as error:
        return Outcome(error=error.code, detail=error.detail)


def _through_rest(trigger: WebTrigger) -> Callable[[Servey, Action, Example, Authorization | None], Outcome]:
    def call(app: Servey, action: Action, example: Example, authorization: Authorization | None) -> Outcome:
        if authorization is None and app.runtime.plan(action).guarded:
            authorization = _caller(action)
        path, rest = _filled_path(path_of(action, trigger), _plain_params(example))
        options: dict[str, Any] = {"params": urlencode(list(_flat(rest)))}
        if trigger.method in BODY_METHODS:
            options = {"json": rest}
        with client(app, authorization=authorization) as http:
            answer = http.request(trigger.method.value, path, follow_redirects=False, **options)
        return _outcome(action, answer.status_code, answer.content)

    return call


def _caller(action: Action) -> Authorization:
    """Somebody with every scope that the action's rule names."""
    return Authorization(subject_id="example", scopes=frozenset(required_scopes(action.access_control)))


def _outcome(action: Action, status: int, content: bytes) -> Outcome:
    if status >= 400:
        body = _body(content)
        detail = body.get("detail") if isinstance(body, dict) else body
        code = body.get("code", "invalid_params") if isinstance(body, dict) else f"http_{status}"
        return Outcome(error=code, detail=detail)
    if action.signature.streams:
        return Outcome([from_json(line) for line in content.splitlines()])
    return Outcome(_body(content))


def _body(content: bytes) -> Any:
    try:
        return from_json(content) if content else None
    except ValueError:
        return content.decode(errors="replace")


def _plain_params(example: Example) -> dict[str, Any]:
    plain: dict[str, Any] = to_jsonable_python(dict(example.params))
    return plain


def _filled_path(path: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    rest = dict(params)
    filled = re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: quote(_text(rest.pop(found[1], "")), safe=""), path)
    return filled, rest


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield from ((f"{prefix}{name}", _text(item)) for item in value)
        elif value is not None:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def define_test_class(
    app: Servey | None = None, *, authorization: Authorization | None = None
) -> type[unittest.TestCase]:
    """A class of tests, one for each example of each action and each of its transports.

    ``app`` is the project's in the working directory unless given. Over HTTP a guarded action is called with the scopes
    that its rule names, or as ``authorization``.
    """
    tested = app or create_app(settings=Settings(env="dev"))
    tests: dict[str, Any] = {"__doc__": "The examples of the project's actions."}
    for case in example_cases(tested.runtime.catalog):
        name = "test_" + re.sub(r"\W+", "_", case.id).strip("_").lower()
        while name in tests:
            name += "_"
        tests[name] = _test(case, tested, authorization)
    return type("TestActions", (unittest.TestCase,), tests)


def _test(case: ExampleCase, app: Servey, authorization: Authorization | None) -> Callable[[unittest.TestCase], None]:
    def test(self: unittest.TestCase) -> None:
        case.check(app, authorization)

    test.__doc__ = f"{case.action.name}: {case.example.name} ({case.transport})"
    return test
