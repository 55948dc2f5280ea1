"""Actions with cached results, and an app that counts how often they run."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from servey import (
    WEB_GET,
    Authorization,
    Settings,
    TtlCacheControl,
    action,
    create_app,
)
from servey.calls.invoke import invoke
from servey.calls.outcomes import Stream
from servey.runtime.parts import Parts

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
PUBLIC = TtlCacheControl(60, private=False)
PRIVATE = TtlCacheControl(60)
RUNS: Counter[Any] = Counter()


@asynccontextmanager
async def running(*actions: Any, parts: Parts | None = None, **settings: Any) -> AsyncIterator[Any]:
    """An app that runs; what it gives calls an action in a context of its own."""
    app = create_app(actions=actions, settings=Settings(env="dev", jwt_secret_key=SECRET, **settings), parts=parts)

    async def call(fn: Any, _by: Authorization | None = None, **params: Any) -> Any:
        async with app.runtime.context("test", authorization=_by) as context:
            result = await invoke(fn.servey_action, params, context)
            call.made_at = context.made_at
            return [item async for item in result] if isinstance(result, Stream) else result

    call.app = app
    async with app.runtime.lifespan():
        yield call


@action(triggers=WEB_GET, cache_control=PUBLIC, tags=("doubles",))
async def double(n: int, by: int = 2) -> int:
    RUNS[n, by] += 1
    return n * by


@action(triggers=WEB_GET, cache_control=PRIVATE, tags=("doubles", "own"))
async def mine(authorization: Authorization | None, n: int = 0) -> str:
    RUNS["mine"] += 1
    return f"{authorization.subject_id if authorization else 'nobody'} {n} {RUNS['mine']}"


CALLERS = [
    None,
    Authorization("ada"),
    Authorization("bob"),
    Authorization("ada", frozenset({"root"})),
    Authorization("ada", frozenset({"root", "read"})),
    Authorization("ada root"),
    Authorization(None, frozenset({"ada"})),
]
