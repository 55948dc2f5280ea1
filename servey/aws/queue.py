"""Jobs in SQS, with their state in DynamoDB.

Source: SQS developer guide, "Message quotas"; the SQS API reference.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Literal, Protocol, TypeAlias

from pydantic import TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from servey.aws.clients import Client
from servey.aws.table import Item, Table, table_of
from servey.core.errors import ActionError, Overloaded, ServeyError
from servey.core.queues import LISTED, UNFINISHED, ActionJobs, Depth, Job, JobEvent, JobState, QueueState, State
from servey.core.settings import Settings

LARGEST_BYTES = 1024 * 1024
LONGEST_DELAY_SECONDS = 900
LONGEST_WAIT_SECONDS = 43_200
LONGEST_JOB_SECONDS = 899.5
"""A function may run for 15 minutes; the last half second stores the outcome. Source: Lambda quotas."""

Claim: TypeAlias = Literal["claimed", "running elsewhere", "finished"]


class Outcome(Protocol):
    """The outcome of one attempt of a job."""

    @property
    def state(self) -> State: ...
    @property
    def result(self) -> Any: ...
    @property
    def error(self) -> Mapping[str, Any] | None: ...
    @property
    def wait(self) -> float: ...


class SqsQueue:
    """A queue in SQS. AWS invokes the function with its messages. Units: ``keep`` in seconds."""

    longest_job: float = LONGEST_JOB_SECONDS

    def __init__(self, url: str, client: Client, table: Table | None, *, dead_url: str | None, keep: float) -> None:
        self._url = url
        self._dead_url = dead_url
        self._client = client
        self._table = table
        self._keep = keep

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Enqueue a job and return its id, or the id of an earlier job of the same action with the same ``key``.

        Errors: ServeyError for a delay or size over the limits of SQS; Overloaded if SQS does not answer.
        """
        body = to_json({"v": 1, "job": job})
        if delay > LONGEST_DELAY_SECONDS:
            raise ServeyError(
                f"job '{job.title}': the delay is {delay:g} s; the limit of SQS is {LONGEST_DELAY_SECONDS} s"
            )
        if len(body) > LARGEST_BYTES:
            raise ServeyError(f"job '{job.title}' has {len(body)} bytes; the limit of SQS is {LARGEST_BYTES}")
        if key is not None:
            first = await self._first_with(f"key#{job.title}#{key}", job.id)
            if first != job.id:
                return first
        try:
            await self._save(JobState(job, due_at=time.time() + delay))
            await self._client("send_message", QueueUrl=self._url, MessageBody=body.decode(), DelaySeconds=round(delay))
        except Exception as error:
            if key is not None and self._table is not None:
                await self._table.delete(f"key#{job.title}#{key}", "key")
            raise Overloaded("The job queue does not answer; try again later") from error
        return job.id

    async def state(self, job_id: str) -> JobState | None:
        """Return the state of a job, or None if the job is unknown or its state has expired."""
        item = await self._table.get(f"job#{job_id}", "state") if self._table is not None else None
        if item is None or float(item["expires_at"]) < time.time():
            return None
        return _states().validate_json(str(item["data"]))

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Store the progress of a running job."""
        found = await self.state(job_id)
        if found is not None and found.state == "running":
            await self._save(replace(found, progress=progress), lease=LONGEST_DELAY_SECONDS)

    async def jobs(
        self,
        *,
        states: Collection[State] = LISTED,
        action: str | None = None,
        queue: str | None = None,
        most: int | None = None,
    ) -> list[JobState]:
        """Errors: ServeyError; SQS cannot list its messages."""
        raise _not_possible("list its jobs")

    async def queues(self) -> list[QueueState]:
        """Errors: ServeyError; SQS cannot list its messages."""
        raise _not_possible("list its jobs")

    async def actions(self) -> list[ActionJobs]:
        """Errors: ServeyError; SQS cannot list its messages."""
        raise _not_possible("list its jobs")

    def events(self) -> AsyncIterator[JobEvent]:
        """Errors: ServeyError; SQS has no events of jobs."""
        raise _not_possible("publish events of its jobs")

    async def depth(self) -> Depth:
        """Errors: ServeyError; SQS only reports an approximate size."""
        raise _not_possible("count its jobs")

    async def retry(self, job_id: str) -> bool:
        """Errors: ServeyError; SQS cannot find a message."""
        raise _not_possible("find a dead job")

    async def drop(self, job_id: str) -> bool:
        """Errors: ServeyError; SQS cannot find a message."""
        raise _not_possible("find a job")

    async def pause(self, queue: str) -> None:
        """Errors: ServeyError; the trigger of the function is disabled in AWS instead."""
        raise ServeyError("SQS cannot pause a queue; disable the function's SQS trigger in the AWS console instead")

    async def resume(self, queue: str) -> None:
        """Errors: ServeyError; the trigger of the function is enabled in AWS instead."""
        raise ServeyError("SQS cannot resume a queue; enable the function's SQS trigger in the AWS console instead")

    async def cancel(self, job_id: str) -> bool:
        """Cancel a queued or running job; return False if there is no such job.

        A running job is notified within a second. Errors: ServeyError without a table for the states of jobs.
        """
        if self._table is None:
            raise ServeyError(
                "cancelling a job needs the DynamoDB table that stores states; set SERVEY_CONNECTION_TABLE"
            )
        known = await self.state(job_id)
        if known is None or known.state not in UNFINISHED:
            return False
        now = time.time()
        await self._table.put({"pk": f"job#{job_id}", "sk": "cancel", "expires_at": now + self._keep})
        # If a function has claimed it meanwhile, it runs and finds this item.
        cancelled = replace(known, state="cancelled", ended_at=now)
        await self._table.put(self._item(cancelled, self._keep), unless_newer_than=now, field="leased_until")
        return True

    async def aclose(self) -> None:
        """Do nothing; the queue holds no connection open."""

    # -------------------------------------------------------------------------------------------- for running jobs

    async def claim(self, job: Job, tries: int, lease: float) -> Claim:
        """Claim a job for ``lease`` seconds. SQS delivers at least once; the claim prevents a second run."""
        if self._table is None:
            return "claimed"
        now = time.time()
        item = self._item(JobState(job, "running", tries), lease)
        if await self._table.put(item, unless_newer_than=now, field="leased_until"):
            return "claimed"
        found = await self.state(job.id)
        is_finished = found is not None and found.state not in UNFINISHED
        return "finished" if is_finished else "running elsewhere"

    @property
    def knows_states(self) -> bool:
        """Whether there is a table that stores the states of jobs."""
        return self._table is not None

    async def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody has cancelled a job."""
        return self._table is not None and await self._table.get(f"job#{job_id}", "cancel") is not None

    async def finish(self, job: Job, tries: int, outcome: Outcome) -> None:
        """Store the outcome of an attempt. A job without further tries goes to the dead-letter queue."""
        state = JobState(job, outcome.state, tries, time.time() + outcome.wait, None, outcome.result, outcome.error)
        if outcome.state in ("failed", "dead") and self._dead_url is not None:
            body = to_json({"v": 1, "job": job, "error": outcome.error})
            await self._client("send_message", QueueUrl=self._dead_url, MessageBody=body.decode())
        is_finished = outcome.state not in UNFINISHED
        await self._save(state, lease=self._keep if is_finished else 0)

    async def hide(self, receipt: str, seconds: float) -> None:
        """Make a message visible again after this time."""
        wait = min(max(0, round(seconds)), LONGEST_WAIT_SECONDS)
        await self._client(
            "change_message_visibility", QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=wait
        )

    async def _first_with(self, pk: str, job_id: str) -> str:
        if self._table is None:
            raise ServeyError("a job key needs the DynamoDB table that stores keys; set SERVEY_CONNECTION_TABLE")
        now = time.time()
        item: Item = {"pk": pk, "sk": "key", "job_id": job_id, "expires_at": now + self._keep}
        if await self._table.put(item, unless_newer_than=now):
            return job_id
        found = await self._table.get(pk, "key")
        return job_id if found is None else str(found["job_id"])

    async def _save(self, state: JobState, *, lease: float = 0) -> None:
        if self._table is not None:
            await self._table.put(self._item(state, lease))

    def _item(self, state: JobState, lease: float) -> Item:
        now = time.time()
        data = _states().dump_json(state).decode()
        times: Item = {"leased_until": now + lease if lease else 0, "expires_at": now + self._keep}
        return {"pk": f"job#{state.job.id}", "sk": "state", "data": data, **times}


def _not_possible(what: str) -> ServeyError:
    return ServeyError(f"SQS cannot {what}; open the job queue and the dead-letter queue in the AWS console")


def queue_of(settings: Settings) -> SqsQueue:
    """Return the queue that the settings describe."""
    assert settings.queue_url is not None
    return SqsQueue(
        settings.queue_url,
        Client("sqs"),
        table_of(settings),
        dead_url=settings.dead_queue_url,
        keep=settings.job_keep,
    )


class _Message(TypedDict):
    v: Literal[1]
    job: Job


class NoQueue:
    """The queue of an app without one: it refuses jobs, so that none is lost silently."""

    keeps_jobs: bool = False
    """Whether a job can be enqueued."""

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Errors: ActionError 501."""
        raise ActionError(501, "not_implemented", "This function has no job queue; set SERVEY_QUEUE_URL")

    async def state(self, job_id: str) -> JobState | None:
        """Return None; there are no jobs."""
        return None

    async def cancel(self, job_id: str) -> bool:
        """Return False; there are no jobs."""
        return False

    async def aclose(self) -> None:
        """Do nothing."""


def no_queue_of(settings: Settings) -> NoQueue:
    """Return a queue that refuses every job."""
    return NoQueue()


def job_of(body: str) -> Job:
    """Return the job in a message. Errors: ValueError if the message is not a job."""
    return _messages().validate_json(body)["job"]


@cache
def _states() -> TypeAdapter[JobState]:
    return TypeAdapter(JobState)


@cache
def _messages() -> TypeAdapter[_Message]:
    return TypeAdapter(_Message)
