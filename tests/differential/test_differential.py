"""Compiled routes do what the generic form does, and what a hand-written FastAPI does where that can be said.

The same requests go to both forms of the same actions, in three surroundings: an app of ours, one with middleware around
it, and a host that ours is installed in. Status, headers, body, what is raised and side effects have to be the same.
"""

import asyncio
import gzip
import inspect
import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache
from typing import Annotated, Any
from urllib.parse import unquote

import pytest
from fastapi import Body, FastAPI, Path, Query, Request
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse

from servey import Servey, Settings
from servey.core.actions import get_action
from servey.routers.rest import compiled, dispatch
from servey.routers.rest.action_route import ActionRoute
from tests.differential.kinds import KINDS
from tests.differential.requests import SECRET, Sent, generated
from tests.differential.shop import ACTIONS
from tests.differential.shop_types import EVENTS, VARIABLE, saw

SETTINGS = Settings(env="dev", jwt_secret_key=SECRET, body_timeout=1)
MODES = ("plain", "middleware", "installed")


async def handle_lookup(request: Request, error: Exception) -> JSONResponse:
    saw("handler", str(error), request.url.path, request.scope["route"].path)
    return JSONResponse({"handled": str(error)}, 499)


class Stamp:
    """A user's middleware that looks at what was served."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", b"1")]
            await send(message)

        try:
            await self.app(scope, receive, stamped)
        finally:
            if scope["type"] == "http":
                path = getattr(scope.get("route"), "path", None)
                saw("served", path if path in PATHS else None, scope.get("path_params") if path in PATHS else None)


PATHS = {kind.path for kind in KINDS}


def build(mode: str, *, generic: bool) -> tuple[Any, Counter[str]]:
    """An app in one of its surroundings, and the counter of what its compiled routes do."""
    counts: Counter[str] = Counter()
    handlers: dict[Any, Any] = {LookupError: handle_lookup}
    around = [Middleware(Stamp), Middleware(GZipMiddleware, minimum_size=200)] if mode == "middleware" else None
    if mode == "installed":
        app: Any = FastAPI(exception_handlers=handlers)
        Servey(actions=ACTIONS, settings=SETTINGS).install(app)
    else:
        app = Servey(actions=ACTIONS, settings=SETTINGS, exception_handlers=handlers, middleware=around)
    for route in app.router.routes:
        if isinstance(route, ActionRoute):
            route.__dict__["serve"] = None if generic else counted(route.serve, counts)
    return app, counts


def counted(serve: Any, counts: Counter[str]) -> Any:
    if serve is None:
        return None

    async def counting(scope: Any, receive: Any, send: Any, values: Any, generic: Any, request_id: Any) -> None:
        counts["reached"] += 1

        async def counted_generic(scope: Any, receive: Any, send: Any) -> None:
            counts["replayed"] += 1
            await generic(scope, receive, send)

        await serve(scope, receive, send, values, counted_generic, request_id)

    return counting


async def answer(app: Any, sent: Sent) -> tuple[Any, ...]:
    """What an app answers, and all that it did meanwhile."""
    EVENTS.clear()
    messages: list[Any] = []
    parts = (
        [sent.body[: len(sent.body) // 2], sent.body[len(sent.body) // 2 :]] if len(sent.body) > 100 else [sent.body]
    )
    unread = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]

    async def receive() -> Any:
        if not unread:
            await asyncio.sleep(1)  # a client that waits for its answer
            return {"type": "http.disconnect"}
        return unread.pop(0)

    async def send(message: Any) -> None:
        messages.append(dict(message))

    path = unquote(sent.path, errors="replace")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": path,
        "raw_path": sent.path.encode(),
        "query_string": sent.query,
        "root_path": "",
        "headers": list(sent.headers),
        "client": ("127.0.0.1", 50000),
        "server": ("test", 80),
        "state": {},
    }
    raised = None
    token = VARIABLE.set("of the request")
    try:
        await app(scope, receive, send)
    except Exception as error:
        raised = repr(error)
    finally:
        VARIABLE.reset(token)
    start = messages[0] if messages else {}
    headers = [(name, value) for name, value in start.get("headers", ()) if name != b"x-request-id"]
    ids = [value for name, value in start.get("headers", ()) if name == b"x-request-id"]
    body = b"".join(message.get("body", b"") for message in messages[1:])
    if (b"content-encoding", b"gzip") in headers:
        body = gzip.decompress(body)  # there is a time in its head
    own = next((value for name, value in sent.headers if name == b"x-request-id"), None)
    told = [own if each == own else b"made" if re.fullmatch(rb"[0-9a-f]{32}", each) else each for each in ids]
    if ids and b"made" in told:
        body = body.replace(ids[0], b"ID")
    return start.get("status"), headers, told, body, raised, list(EVENTS)


async def started(stack: AsyncExitStack, app: Any) -> Any:
    await stack.enter_async_context(app.router.lifespan_context(app))
    return app


async def answers(app: Any, requests: list[Sent]) -> list[tuple[Any, ...]]:
    async with AsyncExitStack() as stack:
        await started(stack, app)
        return [await answer(app, sent) for sent in requests]


@cache
def references(mode: str, seed: int, count: int) -> list[tuple[Any, ...]]:
    """What the generic form answers."""
    return asyncio.run(answers(build(mode, generic=True)[0], list(generated(seed, count))))


def differences(mode: str, seed: int, count: int) -> tuple[list[str], Counter[str]]:
    app, counts = build(mode, generic=False)
    requests = list(generated(seed, count))
    others = references(mode, seed, count)
    found = []
    for sent, one, other in zip(requests, asyncio.run(answers(app, requests)), others, strict=True):
        if one != other:
            found.append(f"{sent}\n  compiled: {one}\n  generic:  {other}")
    counts["all"] = count
    counts["errors"] = sum(other[0] is not None and other[0] >= 400 for other in others)
    return found, counts


def check(mode: str, seed: int, count: int) -> Counter[str]:
    found, counts = differences(mode, seed, count)
    assert not found, f"{len(found)} differences, the first of them:\n" + "\n".join(found[:3])
    return counts


# ------------------------------------------------------------------------------------------------- FastAPI's twins


def twin_of(fn: Callable[..., Any], app: FastAPI) -> None:
    """The same function, written as a route of FastAPI."""
    action = get_action(fn)
    assert action is not None
    for trigger in action.triggers:
        path = trigger.path or f"/actions/{action.name.replace('_', '-')}"
        takes_body = trigger.method in ("POST", "PUT")
        parameters = [
            each.replace(annotation=Annotated[each.annotation, mark_of(each, path, takes_body)])
            for each in inspect.signature(fn).parameters.values()
        ]

        async def twin(**values: Any) -> Any:
            return await fn(**values)

        twin.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            parameters, return_annotation=inspect.signature(fn).return_annotation
        )
        twin.__name__ = action.name
        app.add_api_route(path, twin, methods=[trigger.method])


def mark_of(parameter: inspect.Parameter, path: str, takes_body: bool) -> Any:
    if "{" + parameter.name + "}" in path:
        return Path()
    return Body(embed=True) if takes_body else Query()


TWINS = {kind.path: kind for kind in KINDS if kind.twin}


def twins() -> FastAPI:
    app = FastAPI()
    for fn in ACTIONS:
        action = get_action(fn)
        assert action is not None
        paths = {trigger.path or f"/actions/{action.name.replace('_', '-')}" for trigger in action.triggers}
        methods = {trigger.method for trigger in action.triggers}
        if any(path in TWINS and TWINS[path].method in methods for path in paths):
            twin_of(fn, app)
    return app


def in_short(answered: tuple[Any, ...]) -> tuple[Any, ...]:
    """What of an answer FastAPI and we agree on: of invalid parameters what is wrong and where, not the inputs."""
    status, _, _, body, raised, events = answered
    if status == 422:
        errors = json.loads(body)["detail"]
        return status, [(each["type"], each["loc"], each["msg"]) for each in errors], events
    return status, body, events if raised is None else None


def beside_fastapi(requests: list[Sent]) -> tuple[list[str], int]:
    async def run() -> tuple[list[str], int]:
        async with AsyncExitStack() as stack:
            ours, _ = build("plain", generic=False)
            await started(stack, ours)
            theirs = await started(stack, twins())
            found, compared = [], 0
            for sent in requests:
                # No number that is not finite gets past us; FastAPI takes them in a query.
                if not sent.comparable or re.search(rb"=(nan|inf|Infinity)(&|$)", sent.query):
                    continue
                compared += 1
                one, other = in_short(await answer(ours, sent)), in_short(await answer(theirs, sent))
                if one != other:
                    found.append(f"{sent}\n  ours:    {one}\n  FastAPI: {other}")
            return found, compared

    return asyncio.run(run())


# --------------------------------------------------------------------------------------------------------- the tests


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL, "servey")


@pytest.mark.parametrize("mode", MODES)
def test_a_sample(mode):
    counts = check(mode, 1, 1000)
    answered = counts["reached"] - counts["replayed"]
    assert answered / counts["all"] > 0.5, counts


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", MODES)
def test_ten_thousand_requests(mode):
    counts = check(mode, 20261125, 10_000)
    print(mode, dict(counts))
    answered = counts["reached"] - counts["replayed"]
    assert answered / counts["all"] >= 0.6, counts
    assert counts["errors"] / counts["all"] >= 0.2, counts


def test_a_sample_beside_fastapi():
    found, compared = beside_fastapi(list(generated(2, 1000)))
    assert compared > 200
    assert not found, f"{len(found)} differences, the first of them:\n" + "\n".join(found[:3])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_thousands_beside_fastapi():
    found, compared = beside_fastapi(list(generated(20261126, 10_000)))
    assert compared > 2000
    assert not found, f"{len(found)} differences, the first of them:\n" + "\n".join(found[:3])


@pytest.mark.parametrize(
    ("prefer", "path", "replayed"),
    [
        (b"return=minimal, wait=10", "/actions/text", 0),
        (b"respond-async", "/actions/injected", 0),  # an action that cannot be a job
        (b"respond-async;x=1", "/actions/text", 1),
        (b"wait=10 ,Respond-Async", "/actions/text", 1),
        (b"handling=lenient", "/actions/injected", 1),
    ],
)
def test_only_preferences_that_have_an_effect_need_the_generic_form(prefer, path, replayed):
    app, counts = build("plain", generic=False)
    asyncio.run(answers(app, [Sent("GET", path, b"name=x&number=1", ((b"prefer", prefer),), b"", False)]))
    assert (counts["reached"], counts["replayed"]) == (1, replayed)


def test_every_kind_of_parameter_is_there():
    places = {part.where for kind in KINDS for part in kind.parts}
    assert places == {"query", "body", "path"}
    assert {kind.method for kind in KINDS} >= {"GET", "POST", "PUT", "DELETE"}
    assert len(ACTIONS) == len({action.servey_action.name for action in ACTIONS}) >= 30


def test_the_documents_are_the_same():
    (one, _), (other, _) = build("plain", generic=False), build("plain", generic=True)
    assert one.openapi() == other.openapi()


BUGS = {
    "a list keeps its last value": ("query_params.setdefault(name, []).append(value)", "query_params[name] = [value]"),
    "a plus is no space": ("or '+' in part", "or False"),
    "path over query": ("given['id'] = path[1]", "given.setdefault('id', path[1])"),
    "the limit of the body is not looked at": ("limit_bytes=limit", "limit_bytes=1 << 30"),
    "NaN is a number": ("b'N' in raw and b'NaN' in raw or b'I' in raw and b'Infinity' in raw", "False"),
    "a rule with parameters is forgotten": (
        "await authorize_with_params(check_with_params, values, context)",
        "pass",
    ),
    "the result is not checked": ("result = checked(action, result)", "pass"),
    "the context is not set": ("running = current.set(context)", "running = current.set(None)"),
    "no deadline": (
        "await resume_with_deadline(step, waits_for, action, context)",
        "await resume_coroutine(step, waits_for)",
    ),
    "HEAD has a body": ("b'' if scope['method'] == 'HEAD' else body", "body"),
    "the caller's id is not sent back": ("request_id.encode('latin-1')", "b'another'"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_compiler_is_caught(bug, monkeypatch):
    right, wrong = BUGS[bug]
    write = compiled._Writer.write
    planted = []

    def write_wrongly(self):
        lines, names = write(self)
        from servey.calls.steps import resume_coroutine

        planted.extend(line for line in lines if right in line)
        return [line.replace(right, wrong) for line in lines], {**names, "resume_coroutine": resume_coroutine}

    monkeypatch.setattr(compiled._Writer, "write", write_wrongly)
    found, _ = differences("plain", 1, 1000)
    assert planted, "there is no such line"
    assert found


def test_a_bug_in_the_table_is_caught(monkeypatch):
    def without_order(self, method, path):
        leaf = self._static.get(path)
        matches = [(leaf, ())] if leaf else self._with_parameters(path)
        found = [(each.routes[method][1], values) for each, values in matches if method in each.routes]
        return found[0] if found and found[0][0] is not None else None

    monkeypatch.setattr(dispatch.Table, "find", without_order)
    found, _ = differences("plain", 1, 1000)
    assert found
