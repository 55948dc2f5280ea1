"""Messages of a queue: each is a job, and each fails for itself.

Source: Lambda developer guide, "Reporting batch item failures for Lambda functions with an Amazon SQS trigger".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from servey.aws.queue import Outcome, SqsQueue, job_of
from servey.errors import ServeyError
from servey.queues import Job
from servey.runtime import Runtime

logger = logging.getLogger("servey")

Perform: TypeAlias = Callable[[Runtime, Job, int], Awaitable[Outcome]]
"""Tries a job, for the so-manieth time; every failure is an outcome."""


async def run_records(
    runtime: Runtime, perform: Perform, records: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """Runs the jobs of a batch, and says which messages have to come back.

    Messages of one group of a FIFO queue run one after another, and those behind a failure wait for it.
    Units: ``seconds`` is what is left of the function's time.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        group = record.get("attributes", {}).get("MessageGroupId") or record["messageId"]
        groups.setdefault(group, []).append(record)
    failed = await asyncio.gather(*(_run_group(runtime, perform, group, seconds) for group in groups.values()))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for group in failed for message_id in group]}


async def _run_group(
    runtime: Runtime, perform: Perform, records: Sequence[Mapping[str, Any]], seconds: float
) -> list[str]:
    for place, record in enumerate(records):
        try:
            done = await _run(runtime, perform, record, seconds)
        except Exception:
            logger.exception("message %s of the queue could not be run", record["messageId"])
            done = False
        if not done:
            return [each["messageId"] for each in records[place:]]
    return []


async def _run(runtime: Runtime, perform: Perform, record: Mapping[str, Any], seconds: float) -> bool:
    """Whether a message has not to come back."""
    queue = runtime.queue
    if not isinstance(queue, SqsQueue):
        raise ServeyError("a message has come, and SERVEY_QUEUE_URL does not say from which queue")
    try:
        job = job_of(record["body"])
    except ValueError:
        # Nothing of it is logged; the queue itself puts it to the dead ones in the end.
        logger.error("message %s of the queue holds no job", record["messageId"])
        return False
    tries = int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))
    taken = await queue.take(job, tries, seconds)
    if taken != "mine":
        return taken == "over"
    outcome = await perform(runtime, job, tries)
    await queue.finish(job, tries, outcome)
    if outcome.state != "queued":
        return True
    await queue.hide(record["receiptHandle"], outcome.wait)
    return False
