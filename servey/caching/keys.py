"""The cache key of a call.

The key has everything that the function can see: its parameters, the values that FastAPI injects from the request, and the
caller of a private result.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context as ContextVariables
from contextvars import copy_context
from hashlib import sha256
from typing import Any

from servey.caching.policy import ResultCachePolicy
from servey.core.canonical import NotPlainError, canonical, state_of
from servey.core.context import Context
from servey.core.errors import Unauthenticated

_NOTHING = object()
_NOT_OF_DEPENDENCIES = ("servey.", "decimal_context")
"""Context variables of Servey and of Python's standard library, by the beginnings of their names."""
_LIFETIME = {"not_before", "expire_at"}


async def call_key(
    policy: ResultCachePolicy, values: Mapping[str, Any], context: Context, before: ContextVariables | None = None
) -> tuple[str, str]:
    """The digest of a call's parameters, and of everything that its result depends on. Errors: NotPlainError."""
    given = {name: values[name] for name in policy.params}
    injected = {name: values.get(name) for name in policy.injected}
    caller = await _caller(context, by_token=policy.by_token) if policy.by_caller else None
    parts = [canonical(given), canonical(injected), _dependencies(policy, values, context), caller]
    parts += _set_variables(before) if before is not None else []
    return params_digest(given), _hash(canonical(parts))


def params_digest(params: Mapping[str, Any]) -> str:
    """The hash of a call's parameters, the same for parameters that are equal. Errors: NotPlainError."""
    return _hash(canonical(dict(sorted(params.items())), exact=False))


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _dependencies(policy: ResultCachePolicy, values: Mapping[str, Any], context: Context) -> dict[str, str]:
    """The texts of the dependencies that do not read the request, as far as they are plain values.

    Errors: NotPlainError for one that an app has overridden with a dependency that does read the request.
    """
    if policy.injection is None:
        return {}
    app = context.resources.app if context.holds_resources else None
    overrides = getattr(app, "dependency_overrides", None) or {}
    found: dict[str, str] = {}
    for name in policy.injection.dependencies:
        if name in policy.injected or name not in values:
            continue
        try:
            found[name] = canonical(values[name])
        except NotPlainError:
            if overrides and policy.injection.reads_request(name, overrides):
                raise
    return found


def _set_variables(before: ContextVariables) -> list[tuple[str, str]]:
    """The context variables that dependencies have set, which the function may read.

    Errors: NotPlainError for one whose value is not plain.
    """
    found = []
    for variable, value in copy_context().items():
        if before.get(variable, _NOTHING) is value or variable.name.startswith(_NOT_OF_DEPENDENCIES):
            continue
        if type(value).__module__.startswith("opentelemetry."):
            continue  # the span of this call
        try:
            found.append((variable.name, canonical(value)))
        except NotPlainError as error:
            raise NotPlainError(f"a dependency sets the context variable '{variable.name}': {error}") from None
    return sorted(found)


async def _caller(context: Context, *, by_token: bool) -> Any:
    """What an action can see of its caller, except the lifetime of the token."""
    try:
        authorization = await context.authorize()
    except Unauthenticated:
        return "refused"
    seen: Any = None
    if authorization is not None:
        state = state_of(authorization)
        kind = type(authorization)
        seen = [
            f"{kind.__module__}.{kind.__qualname__}",
            {name: state[name] for name in sorted(state.keys() - _LIFETIME)},
        ]
    # Two callers without a subject are different callers.
    unnamed = authorization is not None and authorization.subject_id is None
    return [context.trusted, seen, context.token if by_token or unnamed else None]
