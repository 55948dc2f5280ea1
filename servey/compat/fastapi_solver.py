"""The parts of FastAPI's dependency solver that compiled dependency graphs are made of.

Source: fastapi/dependencies/utils.py, fastapi/dependencies/models.py and fastapi/concurrency.py, 0.163 to 0.165.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager, contextmanager
from copy import deepcopy
from typing import Any

import fastapi
from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from fastapi._compat import ModelField
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.security.base import SecurityBase
from starlette.responses import Response

from servey.compat.fastapi import tree

try:
    from fastapi._compat import field_annotation_is_sequence
    from fastapi.concurrency import _contextmanager_with_concurrency_limit as limited
    from fastapi.dependencies.models import (
        _get_cache_key,
        _get_computed_scope,
        _get_oauth_scopes,
        _is_async_gen_callable,
        _is_coroutine_callable,
        _is_gen_callable,
    )
    from fastapi.dependencies.utils import (
        _get_param_aliases,
        _get_param_model,
        get_dependant,
        request_body_to_args,
        request_params_to_args,
    )
except ImportError as _error:
    raise ImportError(
        f"fastapi {fastapi.__version__} changed its dependency solver ({_error}); "
        "install a version of fastapi that this version of servey supports"
    ) from None

__all__ = [
    "cache_key",
    "default_of",
    "is_async_generator",
    "is_coroutine",
    "is_generator",
    "limited",
    "new_response",
    "oauth_scopes",
    "overridden",
    "plain_alias",
    "request_body_to_args",
    "request_params_to_args",
    "scope_of",
]

_FIELDS = {
    "path_params",
    "query_params",
    "header_params",
    "cookie_params",
    "body_params",
    "dependencies",
    "name",
    "call",
    "request_param_name",
    "websocket_param_name",
    "http_connection_param_name",
    "response_param_name",
    "background_tasks_param_name",
    "security_scopes_param_name",
    "own_oauth_scopes",
    "parent_oauth_scopes",
    "use_cache",
    "path",
    "scope",
    "concurrency",
}
if not set(inspect.signature(Dependant).parameters) <= _FIELDS:
    raise ImportError(
        f"fastapi {fastapi.__version__} added something to Dependant that compiled dependencies do not handle; "
        "install a version of fastapi that this version of servey supports"
    )


def cache_key(dependant: Dependant) -> Hashable:
    """What makes two dependencies of one call the same."""
    return _get_cache_key(dependant=dependant)


def scope_of(dependant: Dependant) -> str | None:
    """``function`` or ``request``: when a generator closes."""
    return _get_computed_scope(dependant=dependant)


def oauth_scopes(dependant: Dependant) -> list[str]:
    """The scopes that `SecurityScopes` lists."""
    return _get_oauth_scopes(dependant=dependant)


def schemes_of(dependant: Dependant) -> dict[str, tuple[str, ...]]:
    """Return the names of the security schemes of a callable and its dependencies, each with its scopes."""
    found: dict[str, tuple[str, ...]] = {}
    for each in tree(dependant):
        if isinstance(each.call, SecurityBase):
            name = each.call.scheme_name
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), *oauth_scopes(each))))
    return found


def is_generator(call: Any) -> bool:
    """Whether a dependency is a plain generator function."""
    return _is_gen_callable(call)


def is_async_generator(call: Any) -> bool:
    """Whether a dependency is an async generator function."""
    return _is_async_gen_callable(call)


def is_coroutine(call: Any) -> bool:
    """Whether a dependency is awaited; otherwise it runs in a worker thread."""
    return _is_coroutine_callable(call)


def overridden(dependant: Dependant, call: Callable[..., Any]) -> Dependant:
    """The dependant that ``app.dependency_overrides`` puts in the place of another."""
    return get_dependant(
        path=dependant.path or "/",
        call=call,
        name=dependant.name,
        parent_oauth_scopes=_get_oauth_scopes(dependant=dependant),
        scope=dependant.scope,
        concurrency=dependant.concurrency,
    )


def plain_alias(field: ModelField) -> str | None:
    """The one name that a scalar parameter has in a request; None if the parameter needs FastAPI's own reading."""
    if _get_param_model(field) is not None or field_annotation_is_sequence(field.field_info.annotation):
        return None
    aliases = _get_param_aliases(field)
    return aliases[0][1] if len(aliases) == 1 else None


def default_of(field: ModelField) -> Callable[[], Any] | None:
    """Returns a parameter's default, anew for each call; None if it is required or its default is validated."""
    if field.field_info.is_required() or field.field_info.validate_default:
        return None
    default = field.default
    if default is None or (field.field_info.default_factory is None and isinstance(default, str | int | float | bytes)):
        return lambda: default
    return lambda: deepcopy(field.default)


def new_response() -> Response:
    """The response whose headers and status dependencies may set."""
    response = Response()
    del response.headers["content-length"]
    response.status_code = None  # type: ignore[assignment]
    return response


def context_manager_of(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes the async context manager of a generator dependency from its arguments."""
    if inspect.isasyncgenfunction(call):
        return lambda **values: Generator(call(**values))
    if is_async_generator(call):
        return asynccontextmanager(call)
    make = contextmanager(call)
    return lambda **values: contextmanager_in_threadpool(make(**values))


class Generator:
    """An async generator as a context manager; contextlib's own handles everything but the ordinary exit."""

    __slots__ = ("_items",)

    def __init__(self, items: AsyncGenerator[Any, None]) -> None:
        self._items = items

    async def __aenter__(self) -> Any:
        try:
            return await anext(self._items)
        except StopAsyncIteration:
            raise RuntimeError("generator didn't yield") from None

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool | None:
        if error is not None:
            manager = asynccontextmanager(lambda: self._items)()
            suppressed: bool | None = await manager.__aexit__(kind, error, trace)
            return suppressed
        try:
            await anext(self._items)
        except StopAsyncIteration:
            return False
        try:
            raise RuntimeError("generator didn't stop")
        finally:
            await self._items.aclose()


class Shielded:
    """An async generator dependency, whose clean-up is not cancelled by the scopes around the call."""

    __slots__ = ("_manager", "_scope")

    def __init__(self, manager: Any, scope: CancelScope) -> None:
        self._manager = manager
        self._scope = scope

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool | None:
        scope = self._scope
        was_shielded = scope.shield
        scope.shield = True
        try:
            suppressed: bool | None = await self._manager.__aexit__(kind, error, trace)
        finally:
            scope.shield = was_shielded
        if error is None or suppressed:
            await checkpoint_if_cancelled()
        return suppressed
