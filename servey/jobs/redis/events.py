"""Events of jobs in Redis: scripts publish them while somebody listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import fields as dataclass_fields
from typing import Any

from pydantic import TypeAdapter
from redis.exceptions import RedisError

from servey.core.queues import JobEvent
from servey.jobs.redis import control
from servey.jobs.redis.client import Scripts, blocking_client_of

logger: logging.Logger = logging.getLogger("servey")

_EVENTS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_FIELDS = {each.name for each in dataclass_fields(JobEvent)}
_WATCHED_SECONDS = 30
_RENEW_SECONDS = 10
_AGAIN_SECONDS = 1


async def events_of(url: str, prefix: str, scripts: Scripts) -> AsyncIterator[JobEvent]:
    """Yield the events of all jobs of an app until closed; events are lost while Redis does not answer."""
    client: Any = blocking_client_of(url, prefix)
    try:
        while True:
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as subscribed:
                    await subscribed.subscribe(f"{prefix}jobs")
                    loop = asyncio.get_running_loop()
                    renew_at = loop.time()
                    while True:
                        if loop.time() >= renew_at:
                            # Workers and enqueuers publish as long as this key exists.
                            await scripts.run(control.WATCH, _WATCHED_SECONDS * 1000)
                            renew_at = loop.time() + _RENEW_SECONDS
                        message = await subscribed.get_message(timeout=renew_at - loop.time())
                        if message is not None:
                            yield _event_of(message["data"])
            except (RedisError, OSError) as error:
                logger.warning("events of jobs are lost while Redis does not answer: %s", error or type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS)
    finally:
        with suppress(RedisError, OSError):
            await client.aclose()


def _event_of(data: bytes) -> JobEvent:
    # During an update, a later version may publish more.
    fields = {name: each for name, each in _EVENTS.validate_json(data).items() if name in _FIELDS}
    for name in ("at", "due_at"):
        if name in fields:
            fields[name] /= 1000
    return JobEvent(**fields)
