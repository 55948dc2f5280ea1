"""The one place where an action's function is called, whatever the transport.

A call takes four steps, each of them here and nowhere else: `admit` (may this caller call at all), `validate` (do the
parameters fit, and may this caller call with them), `perform` (dependencies, the function under its deadline, its result
checked, or a result that the server has kept). `invoke` is all of them in a row.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from starlette.responses import Response

from servey.access import ALLOW_ALL, AccessControl, AllOf, allows, looks_at_params, refusal
from servey.actions import Action
from servey.context import Context, _current
from servey.dependencies import Injection, Resources, call_with_dependencies, injection_of
from servey.errors import ActionTimeout, InvalidParams, Overloaded, ServeyError, Unauthenticated
from servey.keeping import Keeping, keeping_of
from servey.limits import readable_errors
from servey.steps import rest_of


class ResultError(ServeyError):
    """A function gave back something else than its annotation says; the caller is told of an internal error only."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What is decided of an action once, so that a call has not to ask again.

    ``early`` is the part of the access control that needs no parameters, ``late`` the part that does; ``keeping`` says how
    the server keeps its results, where it does.
    """

    action: Action
    early: AccessControl | None
    late: AccessControl | None
    authorization: tuple[tuple[str, bool], ...]
    contexts: tuple[str, ...]
    injection: Injection | None
    is_coroutine: bool
    keeping: Keeping | None

    @property
    def guarded(self) -> bool:
        """Whether there is a caller whom it refuses."""
        return self.action.access_control is not ALLOW_ALL or self.needs_token

    @property
    def needs_token(self) -> bool:
        """Whether it takes an authorization that must be there."""
        return any(required for _, required in self.authorization)


def plan_of(action: Action) -> Plan:
    """Decides what can be decided before the first call. Errors: ConfigError."""
    early, late = _split(action.access_control)
    params = action.signature.params
    injection = injection_of(action)
    return Plan(
        action=action,
        early=early,
        late=late,
        authorization=tuple((param.name, not param.nullable) for param in params if param.filled_by == "authorization"),
        contexts=tuple(param.name for param in params if param.filled_by == "context"),
        injection=injection,
        is_coroutine=inspect.iscoroutinefunction(action.fn),
        keeping=keeping_of(action, injection),
    )


def _split(rule: AccessControl) -> tuple[AccessControl | None, AccessControl | None]:
    if rule is ALLOW_ALL:
        return None, None
    if not looks_at_params(rule):
        return rule, None
    if not isinstance(rule, AllOf):
        return None, rule
    early = tuple(part for part in rule.rules if not looks_at_params(part))
    late = tuple(part for part in rule.rules if looks_at_params(part))
    return (AllOf(early) if early else None), AllOf(late)


async def invoke(action: Action, params: Mapping[str, Any], context: Context) -> Any:
    """Calls an action with a client's input, by wire name, and gives its checked result, or a `Stream` of them.

    Errors: ActionError for whatever the caller may know; anything that the function raises, unchanged.
    """
    observer = context.runtime.observer
    if observer is not None:
        return await observer.call(_invoke, action, params, context)
    return await _invoke(action, params, context)


async def _invoke(action: Action, params: Mapping[str, Any], context: Context) -> Any:
    plan = context.runtime.plan(action)
    await admit(plan, context)
    return await perform(plan, await validate(plan, params, context), context)


async def admit(plan: Plan, context: Context) -> None:
    """Lets the caller through, or not, as far as that can be said without the parameters.

    Errors: Unauthenticated, Forbidden.
    """
    if plan.early is None and plan.late is None and not plan.authorization:
        if plan.contexts:
            await _look_at_token(context)
        return
    authorization = await context.authorize()
    if context.trusted:
        return
    if plan.early is not None and not await allows(plan.early, authorization, {}):
        raise refusal(authorization)
    if plan.needs_token and authorization is None:
        raise Unauthenticated()


async def _look_at_token(context: Context) -> None:
    # The action may never ask who calls; a bad token is only its caller's error once it does.
    try:
        await context.authorize()
    except Unauthenticated:
        pass


async def validate(plan: Plan, params: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """The client's input as Python values by parameter name, once the access control has nothing against them.

    Errors: InvalidParams, whose locations begin with the parameter's wire name; Unauthenticated, Forbidden.
    """
    extra: Literal["forbid"] | None = "forbid" if context.runtime.settings.strict_schema else None
    try:
        values: dict[str, Any] = plan.action.params.validator.validate_python(params, extra=extra)
    except ValidationError as error:
        raise InvalidParams(readable_errors(error)) from None
    if plan.late is not None:
        await admit_with(plan.late, values, context)
    return values


async def admit_with(late: AccessControl, values: dict[str, Any], context: Context) -> None:
    """Lets the caller through, or not, now that the parameters are known. Errors: Unauthenticated, Forbidden."""
    if not context.trusted and not await allows(late, context.authorization, values):
        raise refusal(context.authorization)


async def perform(plan: Plan, values: dict[str, Any], context: Context) -> Any:
    """Calls the function with its validated parameters and with what the call fills in.

    Errors: ActionTimeout over the action's timeout, Overloaded without a free thread; anything that it raises.
    """
    observer = context.runtime.observer
    if observer is None or observer.tracer is None:
        return await _perform(plan, values, context)
    with observer.performing(plan.action, context):
        return await _perform(plan, values, context)


async def _perform(plan: Plan, values: dict[str, Any], context: Context) -> Any:
    action = plan.action
    for name, required in plan.authorization:
        if required and context.authorization is None:
            raise Unauthenticated("This action needs an authorization; give a token")
        values[name] = context.authorization
    for name in plan.contexts:
        values[name] = context

    async def call(injected: Mapping[str, Any]) -> Any:
        # Dependencies have run by now, also for a result that is kept: some of them are what lets a caller in.
        whole = {**values, **injected}
        if plan.keeping is None:
            return await _call(action, whole, context)
        return await context.runtime.cache.result_of(
            action, plan.keeping, whole, context, lambda: _call(action, whole, context)
        )

    context.deadline = asyncio.get_running_loop().time() + action.timeout
    running = _current.set(context)
    try:
        if plan.injection is None:
            if plan.is_coroutine and plan.keeping is None:
                step = action.fn(**values)
                try:
                    waits_for = step.send(None)
                except StopIteration as done:
                    result = done.value  # it never waited, and needed no timer
                else:
                    result = await go_on(step, waits_for, action, context)
                return checked(action, result)
            async with asyncio.timeout(action.timeout):
                return await (_call(action, values, context) if plan.keeping is None else call({}))
        return await call_with_dependencies(plan.injection, context, call, timeout=action.timeout)
    except TimeoutError as error:
        raise _over_time(error, action, context) from None
    finally:
        _current.reset(running)


def _over_time(error: TimeoutError, action: Action, context: Context) -> Exception:
    """What a TimeoutError inside a call means: one of the function's own is its own failure."""
    if context.deadline is None or context.deadline > asyncio.get_running_loop().time():
        return error
    if context.holds_resources and context.resources.thread == "waiting":
        return Overloaded("No worker thread became free in time")
    return ActionTimeout(action.timeout)


async def go_on(step: Any, waits_for: Any, action: Action, context: Context) -> Any:
    """What comes of a function whose first step has been taken and that waits for something; the deadline is the call's."""
    try:
        async with asyncio.timeout_at(context.deadline):
            return await rest_of(step, waits_for)
    except TimeoutError as error:
        raise _over_time(error, action, context) from None


async def go_in_thread(values: dict[str, Any], action: Action, context: Context) -> Any:
    """What comes of a plain function in a worker thread; the deadline is the call's."""
    try:
        async with asyncio.timeout_at(context.deadline):
            return await _in_thread(action, values, context)
    except TimeoutError as error:
        raise _over_time(error, action, context) from None


async def go_with(awaitable: Coroutine[Any, Any, Any], action: Action, context: Context) -> Any:
    """What comes of a coroutine that a plain function gave back; the deadline is the call's."""
    try:
        async with asyncio.timeout_at(context.deadline):
            return await awaitable
    except TimeoutError as error:
        raise _over_time(error, action, context) from None


async def _call(action: Action, values: dict[str, Any], context: Context) -> Any:
    if action.signature.streams:
        stream = Stream(action, action.fn(**values), context)
        context.resources.on_close(stream.aclose)
        await stream.start()
        return stream
    if action.is_async:
        result = await action.fn(**values)
    elif action.blocking:
        result = await _in_thread(action, values, context)
    else:
        result = action.fn(**values)
    if isinstance(result, Coroutine):
        # A plain function that wraps an async one, as many decorators do.
        result = await result
    return checked(action, result)


async def _in_thread(action: Action, values: dict[str, Any], context: Context) -> Any:
    return await _threaded(lambda: action.fn(**values), context)


async def _threaded(call: Callable[[], Any], context: Context) -> Any:
    resources: Resources = context.resources

    def started() -> None:
        resources.thread = "running"

    resources.thread = "waiting"
    return await context.runtime.threads.run(call, started)


async def perform_batch(plan: Plan, keys: list[Any], context: Context) -> list[Any]:
    """Calls the function of an action's batch with many keys; gives each key's checked result, or its exception.

    Errors: ResultError where there is not one result for each key; otherwise as `perform`.
    """
    observer = context.runtime.observer
    if observer is None or observer.tracer is None:
        return await _perform_batch(plan, keys, context)
    with observer.performing(plan.action, context):
        return await _perform_batch(plan, keys, context)


async def _perform_batch(plan: Plan, keys: list[Any], context: Context) -> list[Any]:
    action, batch = plan.action, plan.action.batch_invoker
    assert batch is not None
    context.deadline = asyncio.get_running_loop().time() + action.timeout
    running = _current.set(context)
    try:
        async with asyncio.timeout(action.timeout):
            if inspect.iscoroutinefunction(batch.fn) or not action.blocking:
                results = batch.fn(keys)
            else:
                results = await _threaded(lambda: batch.fn(keys), context)
            if inspect.isawaitable(results):
                results = await results
    except TimeoutError as error:
        raise _over_time(error, action, context) from None
    finally:
        _current.reset(running)
    results = list(results)
    if len(results) != len(keys):
        raise ResultError(
            f"the batch of action '{action.name}' ({action.place}) gave {len(results)} results for {len(keys)} keys"
        )
    return [_item_of(action, result) for result in results]


def _item_of(action: Action, result: Any) -> Any:
    if isinstance(result, Exception):
        return result
    try:
        return checked(action, result)
    except ResultError as error:
        return error


def checked(action: Action, result: Any) -> Any:
    """A result, once it is what the annotation says. Errors: ResultError."""
    if isinstance(result, Response) or action.result is None:
        return result
    try:
        return action.result.validator.validate_python(result, from_attributes=True)
    except ValidationError as error:
        found = readable_errors(error)[:5]
        problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'result'}: {each['msg']}" for each in found)
        raise ResultError(
            f"action '{action.name}' ({action.place}) gave back what its annotation does not allow: {problems}"
        ) from None


class Stream:
    """What a streaming action yields, each item checked; iterate it, and close it when you leave early."""

    def __init__(self, action: Action, items: Any, context: Context) -> None:
        self.action = action
        self._items = items
        self._context = context
        self._first: list[Any] = []
        self._ended = False

    async def start(self) -> None:
        """Waits for the first item, so that an error before it is an ordinary error, and a timeout a timeout."""
        try:
            self._first.append(checked(self.action, await anext(self._items)))
        except StopAsyncIteration:
            self._ended = True

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._first:
            return self._first.pop()
        if self._ended:
            raise StopAsyncIteration
        # Whoever iterates is not the task that made the call; its steps run in the call all the same.
        running = _current.set(self._context)
        try:
            return checked(self.action, await anext(self._items))
        finally:
            _current.reset(running)

    async def aclose(self) -> None:
        """Ends the function where it stands; nothing more comes of it."""
        self._ended = True
        self._first.clear()
        await self._items.aclose()
