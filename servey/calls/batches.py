"""Batched actions: their keys, and the other arguments of their batch functions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from servey.calls.injection import Injection, filled_in, injection_of_batch
from servey.compat.annotations import written_signature
from servey.core.actions import Action, BatchInvoker
from servey.core.context import Context
from servey.core.params import Param, SignatureProblem, Wanted, is_fastapis_mark, signature_of


def key_of(invoker: BatchInvoker, parent: Any) -> Any:
    """Return the key of a parent in a batch: the parent itself, or the extractor's result."""
    if invoker.arg_extractor is None:
        return parent
    extracted = invoker.arg_extractor(parent)
    return extracted[0] if len(extracted) == 1 else tuple(extracted)


def hashable(key: Any) -> Any:
    """Return a hashable value that is equal for equal keys."""
    try:
        hash(key)
        return key
    except TypeError:
        pass
    if isinstance(key, BaseModel):
        return type(key), hashable(key.__dict__)
    if dataclasses.is_dataclass(key) and not isinstance(key, type):
        return type(key), tuple(hashable(getattr(key, each.name)) for each in dataclasses.fields(key) if each.compare)
    if isinstance(key, dict):
        return tuple((name, hashable(value)) for name, value in key.items())
    if isinstance(key, list | tuple):
        return tuple(map(hashable, key))
    return id(key)


@dataclasses.dataclass(frozen=True, eq=False)
class BatchCall:
    """How a batch function is called.

    Shape: ``arguments`` are the method's parameters that the function takes too; ``wanted`` are its parameters that receive
    the `Authorization` or the `Context`; ``injection`` has its dependencies, after those of the method.
    """

    fn: Callable[..., Any]
    arguments: tuple[str, ...]
    wanted: tuple[tuple[str, Wanted], ...]
    injection: Injection | None

    async def filled(self, context: Context) -> Mapping[str, Any]:
        """Return the `Authorization` and the `Context` that the function receives. Errors: Unauthenticated."""
        if any(wanted.kind == "authorization" for _, wanted in self.wanted):
            await context.authorize()
        return {name: filled_in(wanted, context) for name, wanted in self.wanted}


def batch_call_of(action: Action, injection: Injection | None) -> BatchCall | None:
    """Return how the batch function of a method is called, or None if it has none; ``injection`` is the method's.

    Errors: ConfigError for a parameter of the function that nothing fills, or that the method needs and it does not take.
    """
    invoker = action.batch_invoker
    if invoker is None or action.class_name is None:
        return None
    params = _params_besides_keys(action, invoker)
    arguments = arguments_of_batch(action)
    for param in params:
        if param.filled_by == "client" and param.required and param.name not in arguments:
            raise action.problem(f"its batch function takes '{param.name}', which is not a parameter of the method")
    for param in action.signature.client:
        if param.required and param.name not in ("self", *arguments):
            raise action.problem("is required, but its batch function does not take it; give it a default", param.name)
    own = tuple(param for param in params if param.filled_by == "fastapi")
    return BatchCall(
        fn=invoker.fn,
        arguments=arguments,
        wanted=tuple((param.name, param.wanted) for param in params if param.wanted is not None),
        injection=injection_of_batch(action, own) if own or injection is not None else None,
    )


def arguments_of_batch(action: Action) -> tuple[str, ...]:
    """Return the names of a method's parameters that its batch function takes too."""
    invoker = action.batch_invoker
    taken = _besides_keys(invoker.fn) if invoker is not None else {}
    return tuple(param.name for param in action.signature.client if param.name in taken)


def _params_besides_keys(action: Action, invoker: BatchInvoker) -> tuple[Param, ...]:
    others = _besides_keys(invoker.fn)
    if all(each.annotation is each.empty and not is_fastapis_mark(each.default) for each in others.values()):
        return ()  # e.g. `lambda keys, rows=rows: ...`
    try:
        return tuple(param for param in signature_of(invoker.fn).params if param.name in others)
    except SignatureProblem as problem:
        name = getattr(invoker.fn, "__qualname__", repr(invoker.fn))
        about = f"parameter '{problem.parameter}' " if problem.parameter else ""
        raise action.problem(f"its batch function {name}: {about}{problem.message}") from problem


def _besides_keys(fn: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        parameters = list(written_signature(fn).parameters.items())
    except (TypeError, ValueError):
        return {}  # a built-in without a signature
    return dict(parameters[1:])
