"""What an app enqueues and publishes during a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from servey.app import Servey
from servey.core.access import Authorization
from servey.core.channels import BackgroundActionChannel, EventChannel, WebhookEventChannel, WebsocketEventChannel
from servey.core.errors import ServeyError
from servey.core.messages import Message
from servey.core.payloads import Payload
from servey.core.queues import Job


@dataclass(frozen=True)
class Enqueued:
    """A job that was enqueued.

    Shape: ``action`` is the action's name; ``params`` are as they were given, by wire name; ``authorization`` is that of the
    caller. Units: ``delay`` in seconds.
    """

    id: str
    action: str
    params: Mapping[str, Any]
    delay: float
    authorization: Authorization | None


@contextmanager
def enqueued(app: Servey) -> Iterator[list[Enqueued]]:
    """Record the jobs that call actions, in a list that grows while the block runs. The jobs run as usual.

    Use it while the app runs, for example inside ``with client(app)``; events of webhook channels are not in it.
    Errors: ServeyError if the app does not run.
    """
    queue: Any = _running(app).runtime.queue
    found: list[Enqueued] = []
    enqueue = queue.enqueue

    async def recording(job: Job, *, delay: float = 0, key: str | None = None) -> str:
        job_id: str = await enqueue(job, delay=delay, key=key)
        if job_id == job.id and job.action:  # else it was enqueued before, under the same key
            params = Payload(job.params, job.tagged).read()
            found.append(Enqueued(job_id, job.action, params, delay, job.authorization))
        return job_id

    with _replaced(queue, "enqueue", recording):
        yield found


@contextmanager
def published(app: Servey, channel: EventChannel) -> Iterator[list[Any]]:
    """Record the events of a channel, in a list that grows while the block runs. The events are delivered as usual.

    Shape: each event is a value of the channel's event type.
    Use it while the app runs, for example inside ``with client(app)``. Errors: ServeyError if the app does not run.
    """
    runtime: Any = _running(app).runtime
    found: list[Any] = []
    if isinstance(channel, WebsocketEventChannel):
        publish = runtime.publish

        async def publishing(message: Message, *, history: int = 0) -> None:
            await publish(message, history=history)
            if message.channel == channel.name:
                found.append(channel.event.validate_json(message.payload))

        with _replaced(runtime, "publish", publishing):
            yield found
        return
    enqueue_event = runtime.enqueue_event

    async def enqueueing(to: BackgroundActionChannel[Any] | WebhookEventChannel[Any], payload: bytes | Payload) -> None:
        await enqueue_event(to, payload)
        if to is channel:
            found.append(_event_of(to, payload))

    with _replaced(runtime, "enqueue_event", enqueueing):
        yield found


def _event_of(channel: BackgroundActionChannel[Any] | WebhookEventChannel[Any], payload: bytes | Payload) -> Any:
    if isinstance(payload, bytes):
        return channel.event.validate_json(payload)
    assert isinstance(channel, BackgroundActionChannel)
    return channel.event.validate_python(payload.read()[channel.parameter])


def _running(app: Servey) -> Servey:
    if not app.runtime.is_running:
        raise ServeyError("The app is not running; use `with client(app)` around this block")
    return app


@contextmanager
def _replaced(owner: Any, name: str, recording: Any) -> Iterator[None]:
    """Use another method of one object in the block."""
    before = vars(owner).get(name)  # the recording of a block around this one
    setattr(owner, name, recording)
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
