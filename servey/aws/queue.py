"""Jobs in SQS, and what has become of them in DynamoDB.

Source: SQS developer guide, "Message quotas"; the SQS API reference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Literal, Protocol, TypeAlias

from pydantic import TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from servey.aws.clients import Client
from servey.aws.table import Item, Table, table_of
from servey.errors import ActionError, Overloaded, ServeyError
from servey.queues import Job, JobState, State
from servey.settings import Settings

LARGEST_BYTES = 1024 * 1024
LONGEST_DELAY_SECONDS = 900
LONGEST_WAIT_SECONDS = 43_200

Taken: TypeAlias = Literal["mine", "somebody's", "over"]


class Outcome(Protocol):
    """What came of one try of a job, as the runtime of jobs tells it."""

    @property
    def state(self) -> State: ...
    @property
    def result(self) -> Any: ...
    @property
    def error(self) -> Mapping[str, Any] | None: ...
    @property
    def wait(self) -> float: ...


class SqsQueue:
    """A queue whose jobs AWS brings to the function itself. Units: ``keep`` in seconds."""

    def __init__(self, url: str, client: Client, table: Table | None, *, dead_url: str | None, keep: float) -> None:
        self._url = url
        self._dead_url = dead_url
        self._client = client
        self._table = table
        self._keep = keep

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Takes a job; gives its id, or that of the job of the same action that came with this ``key`` before.

        Errors: ServeyError for a delay or a size that SQS does not take; Overloaded where it does not answer.
        """
        body = to_json({"v": 1, "job": job})
        if delay > LONGEST_DELAY_SECONDS:
            raise ServeyError(
                f"job '{job.title}': SQS holds a job back for {LONGEST_DELAY_SECONDS} s, not for {delay:g} s"
            )
        if len(body) > LARGEST_BYTES:
            raise ServeyError(f"job '{job.title}' has {len(body)} bytes, and SQS takes {LARGEST_BYTES}")
        if key is not None:
            first = await self._first_with(f"key#{job.title}#{key}", job.id)
            if first != job.id:
                return first
        try:
            await self._note(JobState(job, due_at=time.time() + delay))
            await self._client("send_message", QueueUrl=self._url, MessageBody=body.decode(), DelaySeconds=round(delay))
        except Exception as error:
            if key is not None and self._table is not None:
                await self._table.delete(f"key#{job.title}#{key}", "key")
            raise Overloaded("The queue of jobs does not answer; try again shortly") from error
        return job.id

    async def state(self, job_id: str) -> JobState | None:
        """What has become of a job; None for one that is not known, or not any more."""
        item = await self._table.get(f"job#{job_id}", "state") if self._table is not None else None
        if item is None or float(item["expires_at"]) < time.time():
            return None
        return _states().validate_json(str(item["data"]))

    async def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Notes how far a running job has come."""
        found = await self.state(job_id)
        if found is not None and found.state == "running":
            await self._note(replace(found, progress=progress), lease=LONGEST_DELAY_SECONDS)

    async def jobs(self) -> list[JobState]:
        """Errors: ServeyError, since SQS does not list what waits in it."""
        raise ServeyError(
            "SQS does not list its jobs; look at the queue, and at the one for dead jobs, in AWS's console"
        )

    async def retry(self, job_id: str) -> bool:
        """Errors: ServeyError, as `jobs`."""
        await self.jobs()
        return False

    async def drop(self, job_id: str) -> bool:
        """Errors: ServeyError, as `jobs`."""
        await self.jobs()
        return False

    async def aclose(self) -> None:
        """Nothing is held open."""

    # ---------------------------------------------------------------------------------- for whoever runs the jobs

    async def take(self, job: Job, tries: int, lease: float) -> Taken:
        """Claims a job for ``lease`` seconds. SQS brings one more than once now and then; it is run once all the same."""
        if self._table is None:
            return "mine"
        now = time.time()
        item = self._item(JobState(job, "running", tries), lease)
        if await self._table.put(item, unless_newer_than=now, field="leased_until"):
            return "mine"
        found = await self.state(job.id)
        return "over" if found is not None and found.state in ("done", "failed", "dead") else "somebody's"

    async def finish(self, job: Job, tries: int, outcome: Outcome) -> None:
        """Notes what came of a try; a job that is given up is kept in the queue of the dead ones."""
        state = JobState(job, outcome.state, tries, time.time() + outcome.wait, None, outcome.result, outcome.error)
        if outcome.state == "dead" and self._dead_url is not None:
            body = to_json({"v": 1, "job": job, "error": outcome.error})
            await self._client("send_message", QueueUrl=self._dead_url, MessageBody=body.decode())
        over = outcome.state in ("done", "failed", "dead")
        await self._note(state, lease=self._keep if over else 0)

    async def hide(self, receipt: str, seconds: float) -> None:
        """Lets a message come back after this time."""
        wait = min(max(0, round(seconds)), LONGEST_WAIT_SECONDS)
        await self._client(
            "change_message_visibility", QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=wait
        )

    async def _first_with(self, pk: str, job_id: str) -> str:
        if self._table is None:
            raise ServeyError("a key needs SERVEY_CONNECTION_TABLE, where keys are remembered")
        now = time.time()
        item: Item = {"pk": pk, "sk": "key", "job_id": job_id, "expires_at": now + self._keep}
        if await self._table.put(item, unless_newer_than=now):
            return job_id
        found = await self._table.get(pk, "key")
        return job_id if found is None else str(found["job_id"])

    async def _note(self, state: JobState, *, lease: float = 0) -> None:
        if self._table is not None:
            await self._table.put(self._item(state, lease))

    def _item(self, state: JobState, lease: float) -> Item:
        now = time.time()
        data = _states().dump_json(state).decode()
        times: Item = {"leased_until": now + lease if lease else 0, "expires_at": now + self._keep}
        return {"pk": f"job#{state.job.id}", "sk": "state", "data": data, **times}


def queue_of(settings: Settings) -> SqsQueue:
    """The queue of the settings."""
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
    """Stands where an app has no queue, so that a job is refused and not lost."""

    async def enqueue(self, job: Job, *, delay: float = 0, key: str | None = None) -> str:
        """Errors: ActionError 501."""
        raise ActionError(501, "not_implemented", "This function has no queue, so that nothing can be done later")

    async def state(self, job_id: str) -> JobState | None:
        """There is no job."""
        return None

    async def aclose(self) -> None:
        """Nothing is held open."""


def no_queue_of(settings: Settings) -> NoQueue:
    """The queue of an app that has none."""
    return NoQueue()


def job_of(body: str) -> Job:
    """The job of a message. Errors: ValueError for a message that holds none."""
    return _messages().validate_json(body)["job"]


@cache
def _states() -> TypeAdapter[JobState]:
    return TypeAdapter(JobState)


@cache
def _messages() -> TypeAdapter[_Message]:
    return TypeAdapter(_Message)
