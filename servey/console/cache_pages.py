"""The console's pages of cached results."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from servey.caching.entries import MOST_READ, drop_entry, entries_of, stored_of
from servey.caching.results import invalidate
from servey.console.access import audit
from servey.console.page import Console, render, see
from servey.core.access import Authorization
from servey.core.actions import Action
from servey.core.errors import ActionError, NotFound
from servey.http.bodies import read_form
from servey.observability.metrics import CACHE
from servey.runtime.runtime import Runtime


async def show_cache(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The actions whose results the server caches."""
    runtime = console.runtime
    cached = [action for action in runtime.catalog if runtime.plan(action).cache_policy is not None]
    problem, stored = "", None
    try:
        stored = await stored_of(runtime.cache) if cached else None
    except ActionError as error:
        problem = error.detail
    return await render(
        console,
        request,
        "cache",
        "Cache",
        rows=[_row(runtime, action) for action in cached],
        stored=stored,
        problem=problem,
        in_redis=runtime.settings.redis_url is not None,
        done=request.query_params.get("done") == "1",
    )


def _row(runtime: Runtime, action: Action) -> dict[str, object]:
    hits, misses = (int(runtime.metrics.value(CACHE, action.name, result)) for result in ("hit", "miss"))
    rate = f"{100 * hits / (hits + misses):.0f} %" if hits + misses else "-"
    return {"name": action.name, "control": str(action.cache_control), "hits": hits, "misses": misses, "rate": rate}


async def show_cached(console: Console, request: Request, caller: Authorization | None) -> Response:
    """The stored results of one action. Errors: NotFound, Overloaded."""
    runtime = console.runtime
    action = _cached_action(runtime, request.path_params["name"])
    policy = runtime.plan(action).cache_policy
    assert policy is not None
    return await render(
        console,
        request,
        "cached",
        "Cache",
        row=_row(runtime, action),
        ttl=policy.ttl,
        by_caller=policy.by_caller,
        entries=await entries_of(runtime.cache, action),
        most=MOST_READ,
        done=request.query_params.get("done"),
    )


async def invalidate_results(console: Console, request: Request, caller: Authorization | None) -> Response:
    """Invalidate the cached results of an action, or one of them. Errors: NotFound, Overloaded."""
    form = await read_form(request)
    name, key = str(form.get("name", "")), str(form.get("key", ""))
    action = _cached_action(console.runtime, name)
    if not key:
        await invalidate(action)
        audit(request, caller, f"invalidation of the results of {name}")
        return see(console, request, "cache", {"done": "1"})
    is_done = await drop_entry(console.runtime.cache, action, key)
    if is_done:
        audit(request, caller, f"invalidation of the result {key[:12]} of {name}")
    return see(console, request, f"cache/{name}", {"done": str(int(is_done))})


def _cached_action(runtime: Runtime, name: str) -> Action:
    found = next((each for each in runtime.catalog if each.name == name), None)
    if found is None or runtime.plan(found).cache_policy is None:
        raise NotFound("There is no such action with cached results")
    return found
