"""Generated dependency graphs: the same functions as an action of ours and as an endpoint of FastAPI.

Each graph logs what happens: calls, clean-up with the exception that it sees, background tasks, context variables, and
whether everything runs in the request's own task.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import BackgroundTasks, Cookie, Depends, Header, HTTPException, Response, Security
from fastapi.security import SecurityScopes

TRAIL: ContextVar[tuple[str, ...]] = ContextVar("trail", default=())
LOG: list[str] = []
KINDS = ("async", "def", "async gen", "gen", "class", "instance", "partial")


def log(event: str) -> None:
    LOG.append(event)


# What FastAPI and Servey raise when a dependency swallowed an error: FastAPI trips over its own unset variable.
SWALLOWED = ("FastAPIError", "UnboundLocalError", "SwallowedError")


def told(error: BaseException) -> str:
    """An error as the log shows it; FastAPI writes the place of an endpoint into the text of its own errors."""
    name = type(error).__name__
    if name in SWALLOWED:
        return "a swallowed error"
    return str(error) if type(error) is ValueError else name


def task_name() -> str:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return "thread"
    return task.get_name() if task is not None else "no task"


@dataclass(frozen=True)
class Sent:
    """One request: headers, and what the functions shall do, as ``name:what`` in a header of its own."""

    headers: dict[str, str]


def graph(seed: int) -> tuple[Callable[..., Any], list[Sent]]:
    """An endpoint with its dependencies, and requests for it."""
    choose = random.Random(seed)
    nodes: list[tuple[Any, str, str | None]] = []
    for number in range(choose.randint(1, 6)):
        kind = choose.choice(KINDS)
        scope = choose.choice((None, None, "function", "request")) if "gen" in kind else None
        below = [_edge(choose, each, kind, scope) for each in _some(choose, nodes)]
        nodes.append((_node(choose, f"n{number}", kind, [each for each in below if each]), kind, scope))
    own = [
        each for each in (_edge(choose, node, "endpoint", None) for node in _some(choose, nodes) or nodes[-1:]) if each
    ]
    endpoint = _endpoint(choose, own, is_async=choose.random() < 0.75)
    names = [f"n{number}" for number in range(len(nodes))] + ["endpoint"]
    return endpoint, [_request(choose, names) for _ in range(4)]


def _some(choose: random.Random, nodes: list[Any]) -> list[Any]:
    return choose.sample(nodes, choose.randint(0, min(3, len(nodes))))


def _edge(choose: random.Random, node: tuple[Any, str, str | None], above: str, above_scope: str | None) -> Any:
    call, kind, scope = node
    if "gen" in above and above_scope != "function" and scope == "function":
        return None  # FastAPI refuses it
    use_cache = choose.random() < 0.8
    # Security has no scope: a node of scope "function" would become one of "request" above others of "function".
    if choose.random() < 0.15 and scope is None:
        return Security(call, scopes=choose.sample(["a", "b", "c"], 2), use_cache=use_cache)
    return Depends(call, use_cache=use_cache, scope=scope if "gen" in kind else None)


def _does(name: str, when: str, x_do: str | None) -> None:
    for each in (x_do or "").split(","):
        if each == f"{name}:{when}:http":
            raise HTTPException(418, f"{name} {when}", headers={"x-raised": name})
        if each == f"{name}:{when}:value":
            raise ValueError(f"{name} {when}")


def _node(choose: random.Random, name: str, kind: str, below: list[Any]) -> Any:
    takes = choose.sample(["header", "cookie", "response", "background", "scopes"], choose.randint(0, 2))

    def begin(values: dict[str, Any]) -> str:
        given = {key: value for key, value in values.items() if isinstance(value, str | int)}
        log(f"{name} called with {sorted(given.items())} trail {TRAIL.get()} in {task_name()}")
        TRAIL.set((*TRAIL.get(), name))
        _does(name, "before", values.get("x_do"))
        if "response" in values:
            values["response"].headers["x-" + name] = "set"
        if "background" in values:
            values["background"].add_task(log, f"{name} background")
        if "scopes" in values:
            log(f"{name} scopes {values['scopes'].scopes}")
        return name

    signature = _signature(below, takes)
    if kind == "async":

        async def call(**values: Any) -> str:
            await asyncio.sleep(0)
            return begin(values)
    elif kind == "def":

        def call(**values: Any) -> str:
            return begin(values)
    elif kind == "async gen":

        async def call(**values: Any) -> Any:
            made = begin(values)
            try:
                yield made
            except BaseException as error:
                log(f"{name} sees {told(error)}")
                if f"{name}:swallow" in (values.get("x_do") or ""):
                    return
                raise
            finally:
                log(f"{name} closes in {task_name()}")
                await asyncio.sleep(0)
                _does(name, "after", values.get("x_do"))
    elif kind == "gen":

        def call(**values: Any) -> Any:
            made = begin(values)
            try:
                yield made
            except BaseException as error:
                log(f"{name} sees {told(error)}")
                if f"{name}:swallow" in (values.get("x_do") or ""):
                    return
                raise
            finally:
                log(f"{name} closes")
                _does(name, "after", values.get("x_do"))
    elif kind == "class":

        class Made(str):
            def __new__(cls, **values: Any) -> Any:
                return super().__new__(cls, begin(values))

        Made.__signature__ = signature  # type: ignore[attr-defined]
        return Made
    else:

        class Instance:
            async def __call__(self, **values: Any) -> str:
                return begin(values)

        if kind == "instance":
            made = Instance()
            made.__signature__ = signature  # type: ignore[attr-defined]
            return made

        async def call(**values: Any) -> str:
            return begin(values)

        call.__signature__ = signature  # type: ignore[attr-defined]
        return functools.partial(call)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__name__ = name
    return call


def _signature(below: list[Any], takes: list[str]) -> Any:
    import inspect

    def param(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> Any:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)

    params = [param(f"d{number}", Annotated[Any, each]) for number, each in enumerate(below)]
    params.append(param("x_do", Annotated[str | None, Header()], None))
    if "header" in takes:
        params.append(param("x_number", Annotated[int, Header()]))
    if "cookie" in takes:
        params.append(param("flavour", Annotated[int, Cookie()], 7))
    if "response" in takes:
        params.append(param("response", Response))
    if "background" in takes:
        params.append(param("background", BackgroundTasks))
    if "scopes" in takes:
        params.append(param("scopes", SecurityScopes))
    return inspect.Signature(params)


def _endpoint(choose: random.Random, below: list[Any], *, is_async: bool) -> Callable[..., Any]:
    import inspect

    signature = _signature(below, ["background"] if choose.random() < 0.3 else [])

    def work(values: dict[str, Any]) -> str:
        given = {key: value for key, value in values.items() if isinstance(value, str | int)}
        log(f"endpoint called with {sorted(given.items())} trail {TRAIL.get()} in {task_name()}")
        if "background" in values:
            values["background"].add_task(log, "endpoint background")
        _does("endpoint", "before", values.get("x_do"))
        return "done"

    if is_async:

        async def endpoint(**values: Any) -> str:
            await asyncio.sleep(0)
            return work(values)
    else:

        def endpoint(**values: Any) -> str:
            return work(values)

    endpoint.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        signature.parameters.values(), return_annotation=str
    )
    endpoint.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()} | {"return": str}
    return endpoint


def _request(choose: random.Random, names: list[str]) -> Sent:
    headers = {}
    if choose.random() < 0.85:
        headers["x-number"] = choose.choice(["1", "2", "3", "wrong"])
    if choose.random() < 0.3:
        headers["cookie"] = choose.choice(["flavour=3", "flavour=sweet", "other=1"])
    does = []
    for _ in range(choose.choice([0, 0, 0, 1, 1, 2])):
        when = choose.choice(["before", "before", "after"])
        does.append(f"{choose.choice(names)}:{when}:{choose.choice(['http', 'value'])}")
    if choose.random() < 0.1:
        does.append(f"{choose.choice(names)}:swallow")
    if does:
        headers["x-do"] = ",".join(does)
    return Sent(headers)
