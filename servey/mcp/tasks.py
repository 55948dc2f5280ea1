"""Tasks: tools that run long are jobs of the queue, whose result a client polls.

Source: the extension ``io.modelcontextprotocol/tasks`` of MCP 2026-07-28.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from servey.calls.enqueue import enqueue_valid
from servey.calls.invoke import authorize, validate
from servey.calls.job_access import visible_to
from servey.calls.outcomes import ResultError
from servey.core.errors import ActionError, InvalidParams
from servey.core.process import Process
from servey.core.queues import ONE_TRY, UNFINISHED, Job, JobState
from servey.http.errors import known_error
from servey.mcp.calls import Exchange, settled
from servey.mcp.kinds.tools import Tool
from servey.mcp.messages import (
    INVALID_PARAMS,
    META_CLIENT_CAPABILITIES,
    ProtocolError,
    Request,
    members_of,
    missing_capability,
)
from servey.mcp.results import members_of_failure, members_of_json

EXTENSION = "io.modelcontextprotocol/tasks"
METHODS = ("tasks/get", "tasks/update", "tasks/cancel")

_POLL_MS = 1000
"""How long a client should wait between two polls."""


def supports_tasks(request: Request) -> bool:
    """Whether the client of a request polls tasks."""
    capabilities = request.meta.get(META_CLIENT_CAPABILITIES) if request.is_modern else None
    extensions = capabilities.get("extensions") if isinstance(capabilities, Mapping) else None
    return isinstance(extensions, Mapping) and EXTENSION in extensions


def check_support(request: Request) -> None:
    """Errors: ProtocolError if the client of a request has not declared that it polls tasks."""
    if not supports_tasks(request):
        raise missing_capability({"extensions": {EXTENSION: {}}})


def begins_task(tool: Tool, request: Request, process: Process) -> bool:
    """Whether a call of a tool is a task: its client polls, and jobs run here for as long as the action may take."""
    if not tool.trigger.task or not supports_tasks(request) or not process.is_running:
        return False
    queue = process.queue
    return getattr(queue, "keeps_jobs", True) and bool(tool.action.timeout <= getattr(queue, "longest_job", math.inf))


async def begun_task(tool: Tool, params: Mapping[str, Any], exchange: Exchange) -> bytes:
    """Enqueue a call that passes access control and validation; return the JSON members of its task.

    Errors: those of `call_action`.
    """
    plan, context = tool.plan, exchange.context

    async def enqueued() -> bytes:
        await authorize(plan, context)
        values = await validate(plan, params, context)
        job_id = await enqueue_valid(context, plan, params, values, retry=plan.action.retry or ONE_TRY)
        exchange.result_type = "task"
        return members_of(_task_of(JobState(Job(job_id, tool.action.name, None, enqueued_at=time.time())), 0))

    return await settled(plan, exchange, enqueued)


async def handle_task(request: Request, exchange: Exchange, tools: Mapping[str, Tool]) -> bytes:
    """Answer a request about a task: return the JSON members of its state, or none for what is only acknowledged.

    ``tools`` are those whose calls may be tasks, by the names of their actions. A task never asks, so answers are ignored.
    Errors: ProtocolError if the caller has no such task; Unauthenticated.
    """
    check_support(request)
    context = exchange.context
    queue, task_id = context.runtime.queue, request.text("taskId")
    may_see = await visible_to(context, exchange.request)
    state = await queue.state(task_id)
    if state is None or state.job.action not in tools or not may_see(state.job):
        raise ProtocolError(INVALID_PARAMS, "There is no such task; it may have expired")
    if request.method == "tasks/cancel":
        await queue.cancel(task_id)
    if request.method != "tasks/get":
        return b""
    members = members_of(_task_of(state, context.runtime.settings.job_keep))
    if state.state in UNFINISHED or state.state == "cancelled":
        return members
    return members + b',"result":{' + _result_of(tools[state.job.action], state, exchange) + b"}"


def _task_of(state: JobState, keep: float) -> dict[str, Any]:
    """Return the state of a task without its result. An action that failed has completed: its error is its result."""
    job, ended = state.job, state.ended_at
    status = "working" if state.state in UNFINISHED else "cancelled" if state.state == "cancelled" else "completed"
    made = {"taskId": job.id, "status": status, "createdAt": _time(job.enqueued_at)}
    made["lastUpdatedAt"] = _time(ended or state.started_at or job.enqueued_at)
    kept = None if status == "working" or ended is None else int((ended - job.enqueued_at + keep) * 1000)
    progress = state.progress or {}
    if status == "working" and progress.get("done") is not None:
        total = progress.get("total")
        made["statusMessage"] = f"{progress['done']:g}" + (f" of {total:g}" if total is not None else "")
    return made | {"ttlMs": kept, "pollIntervalMs": _POLL_MS}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _result_of(tool: Tool, state: JobState, exchange: Exchange) -> bytes:
    """Return the JSON members of the result that the call would have had."""
    if state.state == "done":
        try:
            return members_of_json(tool, to_json(state.result, inf_nan_mode="null"))
        except ResultError as error:
            context = exchange.context
            known = known_error(error, context.runtime, context.request_id, tool.action.name, "mcp")
            return members_of_failure(known, context.request_id)
    body = state.error or {}
    code, detail = str(body.get("code", "failed")), body.get("detail", body)
    is_invalid = code == "invalid_params" and isinstance(detail, list)
    failure = InvalidParams(detail) if is_invalid else ActionError(500, code, detail)
    return members_of_failure(failure, state.job.request_id)
