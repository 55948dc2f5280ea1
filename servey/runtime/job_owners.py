"""Who owns a job inside a host: what a dependency of the host's own says about the request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

from servey.calls.dependencies import call_with_dependencies
from servey.calls.injection import Injection, fill_route
from servey.compat.fastapi import dependant_of
from servey.core.context import _current
from servey.core.errors import ActionError
from servey.runtime.runtime import Runtime

JobOwner: TypeAlias = Callable[[Request], Awaitable[str | None]]

_SECONDS = 15.0


def job_owner_of(dependency: Callable[..., Any], runtime: Runtime) -> JobOwner:
    """Return a function that asks a dependency of FastAPI for the owner of what a request enqueues; None for nobody.

    Errors: ConfigError if FastAPI cannot resolve it. Those of the returned function: what the dependency raises, except that
    a 401 or 403 means nobody.
    """

    depends = Depends(dependency)

    def owned(owner: Any = depends) -> None: ...

    dependant = dependant_of(owned)
    fill_route(dependant)
    injection = Injection(dependant)

    async def given(injected: Mapping[str, Any]) -> Any:
        return injected["owner"]

    async def owner_of(request: Request) -> str | None:
        # A context of its own, since its dependencies close before those of the call around it.
        async with runtime.context("rest", request=request, app=request.scope.get("app")) as context:
            context.deadline = asyncio.get_running_loop().time() + _SECONDS
            running = _current.set(context)
            try:
                owner = await call_with_dependencies(injection, context, given, timeout=_SECONDS)
            except (HTTPException, ActionError) as error:
                status = error.status_code if isinstance(error, HTTPException) else error.status
                if status not in (401, 403):
                    raise
                return None
            finally:
                _current.reset(running)
        return None if owner is None else str(owner)

    return owner_of
