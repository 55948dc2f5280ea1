"""The actions that the tests of jobs call, and what these have seen."""

import asyncio
import time
from typing import Any

import pytest

from servey import WEB_POST, Authorization, Context, NotFound, Retry, ScopeAccessControl, action
from servey.core.queues import Job

IN_MEMORY = pytest.mark.parametrize("dev", ["memory"], indirect=True)

QUICK = Retry(max_tries=3, backoff=0.01)

SEEN: list[Any] = []


@action(triggers=WEB_POST, retry=QUICK)
async def note(what: str, context: Context, authorization: Authorization | None) -> str:
    SEEN.append((what, context.via, authorization.subject_id if authorization else None))
    return what.upper()


@action(retry=QUICK)
async def fails(times: int = 99) -> int:
    SEEN.append(time.monotonic())
    if len(SEEN) <= times:
        raise RuntimeError("secret text")
    return len(SEEN)


@action(retry=QUICK)
async def refuses() -> None:
    SEEN.append(1)
    raise NotFound("no such thing")


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def only_root() -> str:
    return "in"


@action(triggers=WEB_POST, timeout=60, retry=Retry(max_tries=3, backoff=0.01))
async def waits(what: str = "a") -> str:
    SEEN.append(("begin", what))
    try:
        await asyncio.sleep(60)
    finally:
        SEEN.append(("end", what))
    return what


@action
async def work(what: str = "a") -> str:
    SEEN.append(what)
    return what


def job(name: str, act: str = "work", **more: Any) -> Job:
    params = more.pop("params", None)
    return Job(name, act, params if params is not None else {"what": name}, trusted=True, **more)
