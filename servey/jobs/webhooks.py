"""Post events to webhooks: signed, with a timeout, and in production to public addresses only.

Source: Standard Webhooks 1.0 (headers, signature); RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from contextlib import nullcontext
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from servey.core.channels import WebhookEventChannel
from servey.core.errors import ActionError, NotFound
from servey.core.queues import Job
from servey.core.version import __version__
from servey.core.webhooks import signing_keys

if TYPE_CHECKING:
    import httpcore2

    from servey.core.settings import Settings
    from servey.runtime.runtime import Runtime

_READ_BYTES = 1 << 16
_SHOWN_CHARACTERS = 500


async def deliver(runtime: Runtime, job: Job) -> None:
    """Post the event of a job to its channel's URL.

    Errors: ActionError 502 if a later try may succeed, with the receiver's ``Retry-After``; 424 if not; NotFound if the app
    has no such channel.
    """
    channel = next(
        (each for each in runtime.catalog.channels_of(WebhookEventChannel) if each.name == job.channel), None
    )
    if channel is None:
        raise NotFound(f"There is no webhook channel '{job.channel}'")
    runtime.deliveries[channel.name] += 1
    observer = runtime.observer
    try:
        with nullcontext() if observer is None else observer.delivering(job):
            await _post_event(runtime, channel, job)
    finally:
        runtime.deliveries[channel.name] -= 1


async def _post_event(runtime: Runtime, channel: WebhookEventChannel[Any], job: Job) -> None:
    body = to_json(job.params)
    signed = signed_headers(channel.secret, job.id, body, int(time.time()))
    # The channel may set its own content type and user agent, but not what is signed.
    headers = {**signed, **{name.lower(): value for name, value in channel.headers.items()}}
    headers |= {name: value for name, value in signed.items() if name.startswith("webhook-")}
    try:
        async with asyncio.timeout(channel.timeout):
            status, answer_headers, text = await post(channel.url, headers, body, network=runtime.webhook_network)
    except TimeoutError:
        raise _later(f"the receiver did not answer within {channel.timeout:g} s") from None
    if 200 <= status < 300:
        return
    said = f"the receiver answered {status}" + (f": {text}" if text else "")
    if 400 <= status < 500 and status not in (408, 425, 429):
        raise ActionError(424, "webhook_refused", said)
    raise _later(said, answer_headers.get("retry-after"))


def _later(said: str, retry_after: str | None = None) -> ActionError:
    seconds = seconds_of(retry_after) if retry_after is not None else None
    headers = {"Retry-After": str(seconds)} if seconds is not None else {}
    return ActionError(502, "webhook_failed", said, headers=headers)


def seconds_of(retry_after: str) -> int | None:
    """Return the seconds of a ``Retry-After``, or None if it is invalid."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0, round(moment.timestamp() - time.time()))


def signed_headers(secret: str | bytes | None, message_id: str, body: bytes, timestamp: int) -> dict[str, str]:
    """Return the headers of a delivery, with a signature for each key of the secret."""
    headers = {
        "content-type": "application/json",
        "user-agent": f"servey/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
    }
    keys = signing_keys(secret)
    if keys:
        content = f"{message_id}.{timestamp}.".encode() + body
        made = (hmac.new(key, content, hashlib.sha256).digest() for key in keys)
        headers["webhook-signature"] = " ".join(f"v1,{base64.b64encode(each).decode()}" for each in made)
    return headers


async def post(
    url: str, headers: dict[str, str], body: bytes, *, network: httpcore2.AsyncNetworkBackend
) -> tuple[int, dict[str, str], str]:
    """Return the status, the headers and the beginning of the text of a server's response; redirects are not followed.

    Errors: ActionError 502 if the network fails, 424 if the address is refused.
    """
    import httpcore2

    from servey.jobs.addresses import RefusedAddress

    try:
        async with (
            httpcore2.AsyncConnectionPool(network_backend=network) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body) as answer,
        ):
            read = b""
            async for chunk in answer.aiter_stream():
                read += chunk[: _READ_BYTES - len(read)]
                if len(read) >= _READ_BYTES:
                    break
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
            return answer.status, found, " ".join(read.decode(errors="replace").split())[:_SHOWN_CHARACTERS]
    except RefusedAddress as error:
        raise ActionError(424, "webhook_refused", str(error)) from None
    except (
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.TimeoutException,
        httpcore2.UnsupportedProtocol,
        OSError,
    ) as error:
        raise _later(f"{type(error).__name__}: {error}") from None


def network_of(settings: Settings) -> httpcore2.AsyncNetworkBackend:
    """Return the network backend of deliveries; in production it connects to public addresses only."""
    from servey.jobs.addresses import PublicNetwork, system_network

    return system_network() if settings.is_dev else PublicNetwork()
