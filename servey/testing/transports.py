"""Run an example as a trusted call, as a REST request and as a job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from pydantic_core import from_json
from starlette.responses import Response

from servey.app import Servey
from servey.calls.enqueue import enqueue
from servey.calls.invoke import invoke
from servey.calls.outcomes import Stream, body_of_response
from servey.core.access import Authorization
from servey.core.actions import Action, Example
from servey.core.errors import ActionError
from servey.core.queues import ONE_TRY
from servey.core.triggers import BODY_METHODS, WebTrigger
from servey.jobs.in_process import run_jobs
from servey.jobs.memory import MemoryQueue
from servey.jobs.service import jobs_and_schedules_here
from servey.routers.rest.examples import filled_path, flat
from servey.routers.rest.routes import path_of
from servey.testing.client import TOKEN_SECONDS, client, token_for
from servey.testing.outcomes import Outcome, body_of, caller_of, plain_params, serialized


def run_call(app: Servey, action: Action, example: Example, authorization: Authorization | None) -> Outcome:
    """Run the example as a trusted call, like `servey call`, inside the app's lifespan."""

    async def run() -> Outcome:
        runtime = app.runtime
        needs_token = authorization is not None or runtime.plan(action).needs_token
        caller = caller_of(app, action, authorization) if needs_token else None
        token = token_for(app, caller) if caller is not None else None
        async with runtime.context("test", token=token, trusted=True) as context:
            result = await invoke(action, plain_params(example), context)
            if isinstance(result, Stream):
                return Outcome([serialized(action, item) async for item in result])
            if isinstance(result, Response):
                return Outcome(body_of(await body_of_response(result)))
            return Outcome(serialized(action, result))

    return _outcome_of(app, run)


def run_job(app: Servey, action: Action, example: Example, authorization: Authorization | None) -> Outcome:
    """Enqueue the example as its caller and run the job, inside the app's lifespan."""
    with _own_queue(app, action) as queue:

        async def run() -> Outcome:
            runtime = app.runtime
            caller = caller_of(app, action, authorization)
            token = token_for(app, caller) if caller is not None else None
            async with run_jobs(queue, runtime), runtime.context("test", token=token) as context:
                job_id = await enqueue(context, action, plain_params(example), retry=ONE_TRY)
                ended = await queue.ended(job_id)
            error = ended.error
            return Outcome(ended.result) if error is None else Outcome(error=error["code"], detail=error["detail"])

        return _outcome_of(app, run)


def _outcome_of(app: Servey, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Run the work inside the app's lifespan, which ends as after a call on a server, whatever the outcome."""

    async def run() -> Outcome:
        async with app.router.lifespan_context(app):
            try:
                return await work()
            except ActionError as error:
                return Outcome(error=error.code, detail=error.detail)

    return asyncio.run(run())


@contextmanager
def _own_queue(app: Servey, action: Action) -> Iterator[MemoryQueue]:
    """Replace the app's queue by one in memory that runs nothing else: neither other jobs nor schedules."""
    runtime = app.runtime
    queue = MemoryQueue(keep=TOKEN_SECONDS, at_once=runtime.settings.job_concurrency, grace=action.timeout)
    part, services = runtime.parts.queue, list(runtime.services)
    runtime.parts.queue = lambda settings: queue
    runtime.services[:] = [service for service in services if service is not jobs_and_schedules_here]
    try:
        yield queue
    finally:
        runtime.parts.queue = part
        runtime.services[:] = services


def run_rest(
    app: Servey, action: Action, example: Example, trigger: WebTrigger, authorization: Authorization | None
) -> Outcome:
    """Run the example as a request to the route of a trigger."""
    path, rest = filled_path(path_of(action, trigger), plain_params(example))
    options: dict[str, Any] = {"params": urlencode(list(flat(rest)))}
    if trigger.method in BODY_METHODS:
        options = {"json": rest}
    with client(app, authorization=caller_of(app, action, authorization)) as http:
        answer = http.request(trigger.method.value, path, follow_redirects=False, **options)
    body = body_of(answer.content)
    if answer.status_code >= 400:
        detail = body.get("detail") if isinstance(body, dict) else body
        code = body.get("code", "invalid_params") if isinstance(body, dict) else f"http_{answer.status_code}"
        return Outcome(error=code, detail=detail)
    if action.signature.streams:
        return Outcome([from_json(line) for line in answer.content.splitlines()])
    return Outcome(body)
