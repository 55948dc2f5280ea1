"""Calls an action's function, for every transport.

A call has three steps: `authorize` (access control that needs no parameters), `validate` (parameters, then access control
that needs them) and `perform` (dependencies, the function under its deadline, result validation, the result cache).
`invoke` runs all of them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import ValidationError

from servey.caching.policy import ResultCachePolicy, policy_of
from servey.calls.batches import BatchCall, batch_call_of
from servey.calls.deadline import Deadline, over_time, resume_with_deadline
from servey.calls.dependencies import call_with_dependencies
from servey.calls.graph import Call
from servey.calls.injection import Injection, filled_in, injection_of
from servey.calls.outcomes import ResultError, Stream, checked, checked_or_error
from servey.calls.resources import call_in_thread
from servey.calls.slices import checked_in_slices, is_long
from servey.calls.validation_errors import holds_many, readable_errors
from servey.core.access import ALLOW_ALL, AccessControl, AllOf, allows, looks_at_params, refusal
from servey.core.actions import Action
from servey.core.actions.paging import cursor_key, verified
from servey.core.context import Context, _before_guards, _current, running_context
from servey.core.errors import InvalidParams, Unauthenticated
from servey.core.params import Wanted


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything about an action that is computed once, at start.

    Shape: ``check_before_params`` is the part of the access rule that needs no parameters, ``check_with_params`` the part
    that does; ``batch`` is how its batch function is called; ``cache_policy`` says how the server caches its results, None
    where it does not.
    """

    action: Action
    check_before_params: AccessControl | None
    check_with_params: AccessControl | None
    authorization: tuple[tuple[str, Wanted], ...]
    contexts: tuple[str, ...]
    injection: Injection | None
    is_coroutine: bool
    batch: BatchCall | None
    cache_policy: ResultCachePolicy | None

    @cached_property
    def is_plain(self) -> bool:
        """Whether a call is one coroutine, without dependencies and without a cache."""
        return self.is_coroutine and self.injection is None and self.cache_policy is None

    @property
    def guarded(self) -> bool:
        """Whether access is restricted."""
        return self.action.access_control is not ALLOW_ALL or self.needs_token

    @cached_property
    def needs_token(self) -> bool:
        """Whether the action or one of its dependencies requires a valid token."""
        return any(wanted.required for wanted in self._wanted if wanted.kind == "authorization")

    @cached_property
    def reads_token(self) -> bool:
        """Whether the action or one of its dependencies receives an `Authorization`."""
        return any(wanted.kind == "authorization" for wanted in self._wanted)

    @cached_property
    def reads_context(self) -> bool:
        """Whether the action or one of its dependencies receives a `Context`."""
        return bool(self.contexts) or any(wanted.kind == "context" for wanted in self._wanted)

    @cached_property
    def authorizes(self) -> bool:
        """Whether `authorize` has something to do, or the parameters are checked later."""
        checks = self.check_before_params is not None or self.check_with_params is not None
        return checks or self.reads_token or self.reads_context

    @property
    def _wanted(self) -> tuple[Wanted, ...]:
        injected = self.injection.wanted if self.injection is not None else ()
        return (*(wanted for _, wanted in self.authorization), *injected)


def plan_of(action: Action) -> Plan:
    """Return the plan of an action. Errors: ConfigError."""
    before, after = _split(action.access_control)
    params = action.signature.params
    injection = injection_of(action)
    return Plan(
        action=action,
        check_before_params=before,
        check_with_params=after,
        authorization=tuple(
            (each.name, each.wanted) for each in params if each.wanted and each.filled_by == "authorization"
        ),
        contexts=tuple(param.name for param in params if param.filled_by == "context"),
        injection=injection,
        batch=batch_call_of(action, injection),
        is_coroutine=inspect.iscoroutinefunction(action.fn),
        cache_policy=policy_of(action, injection),
    )


def _split(rule: AccessControl) -> tuple[AccessControl | None, AccessControl | None]:
    if rule is ALLOW_ALL:
        return None, None
    if not looks_at_params(rule):
        return rule, None
    if not isinstance(rule, AllOf):
        return None, rule
    before = tuple(part for part in rule.rules if not looks_at_params(part))
    after = tuple(part for part in rule.rules if looks_at_params(part))
    return (AllOf(before) if before else None), AllOf(after)


async def invoke(action: Action, params: Mapping[str, Any], context: Context) -> Any:
    """Call an action with a client's input by wire name; return its validated result or a `Stream`.

    Errors: ActionError for expected failures; anything that the function raises, unchanged.
    """
    if (observer := context.runtime.observer) is not None:
        return await observer.call(_invoke, action, params, context)
    return await _invoke(action, params, context)


async def _invoke(action: Action, params: Mapping[str, Any], context: Context) -> Any:
    plan = context.runtime.plan(action)
    await authorize(plan, context)
    return await perform(plan, await validate(plan, params, context), context)


async def authorize(plan: Plan, context: Context) -> None:
    """Run the access control that needs no parameters.

    Errors: Unauthenticated, Forbidden.
    """
    if (observer := context.runtime.observer) is not None:
        observer.enter(plan.action, context, "authorize")
    if plan.check_before_params is None and plan.check_with_params is None and not plan.reads_token:
        if plan.reads_context:
            await _verify_token(context)
        return
    authorization = await context.authorize()
    if context.trusted:
        return
    if plan.check_before_params is not None and not await allows(plan.check_before_params, authorization, {}):
        raise refusal(authorization)
    if plan.needs_token and authorization is None:
        raise Unauthenticated()


async def _verify_token(context: Context) -> None:
    with suppress(Unauthenticated):  # an error only if the action reads `context.authorization`
        await context.authorize()


async def validate(plan: Plan, params: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Validate the client's input, then run the access control that needs it. Errors: InvalidParams, Unauthenticated,
    Forbidden."""
    values = validated(plan, params, context)
    if plan.check_with_params is not None:
        await authorize_with_params(plan.check_with_params, values, context)
    return values


def validated(plan: Plan, params: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Validate the client's input into Python values by parameter name.

    Errors: InvalidParams, whose locations begin with the parameter's wire name.
    """
    if (observer := context.runtime.observer) is not None:
        observer.enter(plan.action, context, "validate", params)
    extra: Literal["forbid"] | None = "forbid" if context.runtime.settings.strict_schema else None
    try:
        validator = plan.action.params_of_many if holds_many(params) else plan.action.params.validator
        values: dict[str, Any] = validator.validate_python(params, extra=extra, from_attributes=True)
    except ValidationError as error:
        raise InvalidParams(readable_errors(error)) from None
    cursor = plan.action.cursor
    if cursor is not None:
        verified(values[cursor.name], cursor.alias, cursor_key(context.runtime.settings, plan.action.name))
    return values


async def authorize_with_params(rule: AccessControl, values: dict[str, Any], context: Context) -> None:
    """Run the access control that needs the parameters. Errors: Unauthenticated, Forbidden."""
    if not context.trusted and not await allows(rule, context.authorization, values):
        raise refusal(context.authorization)


def perform(plan: Plan, values: dict[str, Any], context: Context) -> Coroutine[Any, Any, Any]:
    """Call the function with its validated parameters and injected values; await what this returns.

    Errors: ActionTimeout after the action's timeout, Overloaded without a free thread; anything that it raises.
    """
    run = _perform_plain if plan.is_plain else _perform
    return _until_success(run(plan, values, context), plan, context)


async def _until_success(performed: Coroutine[Any, Any, Any], plan: Plan, context: Context) -> Any:
    """Await a call; after a success, run what it deferred until then."""
    is_nested = running_context() is context  # then the call around it succeeds or fails as a whole
    if not is_nested:
        context.forget_held()
    observer = context.runtime.observer
    if observer is None or not observer.follows_steps:
        result = await performed
    else:
        with observer.performing(plan.action, context):
            result = await performed
    if not is_nested and not isinstance(result, Stream):  # a stream succeeds when it ends
        if context._held:
            await context.succeed()
        context._held = ()
    return result


async def _perform_plain(plan: Plan, values: dict[str, Any], context: Context) -> Any:
    """Perform a coroutine function without dependencies and without a cache."""
    action = plan.action
    if (observer := context.runtime.observer) is not None:
        observer.enter(action, context, "function")
    _fill_in(plan, values, context)
    context.deadline = asyncio.get_running_loop().time() + action.timeout
    running = _current.set(context)
    try:
        step = action.fn(**values)
        try:
            waits_for = step.send(None)
        except StopIteration as done:
            result = done.value  # it never waited, so it needs no timer
        else:
            result = await resume_with_deadline(step, waits_for, action, context)
        return await checked_in_slices(action, result) if is_long(action, result) else checked(action, result)
    except TimeoutError as error:
        raise over_time(error, action, context) from None
    finally:
        _current.reset(running)


def _fill_in(plan: Plan, values: dict[str, Any], context: Context) -> None:
    for name, wanted in plan.authorization:
        values[name] = filled_in(wanted, context)
    for name in plan.contexts:
        values[name] = context


async def _perform(plan: Plan, values: dict[str, Any], context: Context) -> Any:
    action, observer = plan.action, context.runtime.observer
    if observer is not None:
        first = "dependencies" if plan.injection is not None else "function" if plan.cache_policy is None else "cache"
        observer.enter(action, context, first)
    _fill_in(plan, values, context)

    async def call(injected: Mapping[str, Any]) -> Any:
        # Dependencies run even if the result is cached, since some of them are guards.
        whole = {**values, **injected}
        if observer is not None and plan.cache_policy is not None:
            observer.enter(action, context, "cache")
        if plan.cache_policy is None:
            return await _call(action, whole, context)
        return await context.runtime.cache.result_of(
            action, plan.cache_policy, whole, context, lambda: _call(action, whole, context), before=before
        )

    context.deadline = asyncio.get_running_loop().time() + action.timeout
    running = _current.set(context)
    before = None if plan.cache_policy is None else _before_guards.get(None) or copy_context()
    try:
        if plan.injection is None:
            with Deadline(action.timeout, context.deadline):
                return await (_call(action, values, context) if plan.cache_policy is None else call({}))
        return await call_with_dependencies(plan.injection, context, call, timeout=plan.action.timeout)
    except TimeoutError as error:
        raise over_time(error, action, context) from None
    finally:
        _current.reset(running)


async def call_injected(plan: Plan, call: Call, context: Context) -> Any:
    """Open the dependencies of an action and run ``call`` with the injected values under the call's deadline."""
    assert plan.injection is not None
    try:
        return await call_with_dependencies(plan.injection, context, call, timeout=plan.action.timeout)
    except TimeoutError as error:
        raise over_time(error, plan.action, context) from None


async def run_in_thread_with_deadline(values: dict[str, Any], action: Action, context: Context) -> Any:
    """Run a plain function in a worker thread, until the call's deadline."""
    try:
        with Deadline(action.timeout, context.deadline):
            return await in_thread(action, values, context)
    except TimeoutError as error:
        raise over_time(error, action, context) from None


async def _call(action: Action, values: dict[str, Any], context: Context) -> Any:
    if (observer := context.runtime.observer) is not None:
        observer.enter(action, context, "function")
    if action.signature.streams:
        stream = Stream(action, action.fn(**values), context)
        context.resources.on_close(stream.aclose)
        await stream.start()
        return stream
    if action.is_async:
        result = await action.fn(**values)
    elif action.blocking:
        result = await in_thread(action, values, context)
    else:
        result = action.fn(**values)
    if isinstance(result, Coroutine):
        # A plain function that wraps an async one, as many decorators return.
        result = await result
    return await checked_in_slices(action, result) if is_long(action, result) else checked(action, result)


def in_thread(action: Action, values: dict[str, Any], context: Context) -> Coroutine[Any, Any, Any]:
    """Call a plain function in a worker thread; await what this returns."""
    return call_in_thread(lambda: action.fn(**values), context)


async def perform_batch(plan: Plan, keys: list[Any], arguments: Mapping[str, Any], context: Context) -> list[Any]:
    """Call a batch function with many keys and the validated arguments that it takes; return the validated result or the
    exception of each key.

    Errors: ResultError if there is not one result per key; otherwise as `perform`.
    """
    results: list[Any] = await _until_success(_perform_batch(plan, keys, arguments, context), plan, context)
    return results


async def _perform_batch(plan: Plan, keys: list[Any], arguments: Mapping[str, Any], context: Context) -> list[Any]:
    action, batch = plan.action, plan.batch
    assert batch is not None
    if (observer := context.runtime.observer) is not None:
        observer.enter(action, context, "function")
    given = {**arguments, **await batch.filled(context)}

    async def call(injected: Mapping[str, Any]) -> Any:
        if inspect.iscoroutinefunction(batch.fn) or not action.blocking:
            results = batch.fn(keys, **given, **injected)
        else:
            results = await call_in_thread(lambda: batch.fn(keys, **given, **injected), context)
        return await results if inspect.isawaitable(results) else results

    context.deadline = asyncio.get_running_loop().time() + action.timeout
    running = _current.set(context)
    try:
        if batch.injection is not None:
            results = await call_with_dependencies(batch.injection, context, call, timeout=action.timeout)
        else:
            with Deadline(action.timeout, context.deadline):
                results = await call({})
    except TimeoutError as error:
        raise over_time(error, action, context) from None
    finally:
        _current.reset(running)
    results = list(results)
    if len(results) != len(keys):
        raise ResultError(
            f"the batch of action '{action.name}' ({action.place}) returned {len(results)} results for {len(keys)} keys"
        )
    return [checked_or_error(action, result) for result in results]
