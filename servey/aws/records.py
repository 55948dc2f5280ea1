"""Run the jobs in a batch of SQS messages; each message fails or succeeds on its own.

Source: Lambda developer guide, "Reporting batch item failures for Lambda functions with an Amazon SQS trigger".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from servey.aws.queue import Outcome, SqsQueue, job_of
from servey.core.errors import ServeyError
from servey.core.queues import CancelRequest, Job
from servey.runtime.runtime import Runtime

logger: logging.Logger = logging.getLogger("servey")

Perform: TypeAlias = Callable[[Runtime, Job, int, CancelRequest, float | None], Awaitable[Outcome]]
"""Runs one attempt of a job: its number, and how many seconds it may take. Failures are outcomes and are not raised."""
_LOOK_SECONDS = 0.5
"""How often a running job checks whether it was cancelled."""


async def run_records(
    runtime: Runtime, perform: Perform, records: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """Run the jobs of a batch and return the ids of the messages that SQS must deliver again.

    Messages of one FIFO group run one after another; after a failure the rest of the group is delivered again too.
    A job that still runs when the time is over has failed with a timeout; messages that have not started go back.
    Units: ``seconds`` is the remaining time of the invocation.
    """
    end = time.monotonic() + seconds
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        group = (record.get("attributes") or {}).get("MessageGroupId") or record["messageId"]
        groups.setdefault(group, []).append(record)
    failed = await asyncio.gather(*(_run_group(runtime, perform, group, end) for group in groups.values()))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for group in failed for message_id in group]}


async def _run_group(runtime: Runtime, perform: Perform, records: Sequence[Mapping[str, Any]], end: float) -> list[str]:
    for index, record in enumerate(records):
        seconds = end - time.monotonic()
        if index and seconds <= 0:
            return [each["messageId"] for each in records[index:]]
        try:
            done = await _run(runtime, perform, record, seconds)
        except Exception:
            logger.exception("message %s of the queue could not be run", record["messageId"])
            done = False
        if not done:
            return [each["messageId"] for each in records[index:]]
    return []


async def _run(runtime: Runtime, perform: Perform, record: Mapping[str, Any], seconds: float) -> bool:
    """Run the job of a message. Return whether SQS can delete the message."""
    queue = runtime.queue
    if not isinstance(queue, SqsQueue):
        raise ServeyError("received an SQS message, but SERVEY_QUEUE_URL is not set")
    try:
        job = job_of(record["body"])
    except ValueError:
        # The body may hold secrets, so it is not logged. SQS moves the message to the dead-letter queue in the end.
        logger.error("message %s of the queue is not a job", record["messageId"])
        return False
    tries = int((record.get("attributes") or {}).get("ApproximateReceiveCount", 1))
    claim = await queue.claim(job, tries, seconds)
    if claim != "claimed":
        return claim == "finished"
    cancel = CancelRequest()
    looking = asyncio.create_task(_look_for_cancel(queue, job.id, cancel))
    try:
        outcome = await perform(runtime, job, tries, cancel, seconds)
    finally:
        looking.cancel()
    await queue.finish(job, tries, outcome)
    if outcome.state != "queued":
        return True
    await queue.hide(record["receiptHandle"], outcome.wait)
    return False


async def _look_for_cancel(queue: SqsQueue, job_id: str, cancel: CancelRequest) -> None:
    while queue.knows_states and not cancel.is_set:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            if await queue.is_cancelled(job_id):
                cancel.set()
        except Exception as error:
            logger.warning("whether job %s is cancelled cannot be read: %s", job_id, error)
