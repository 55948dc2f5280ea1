"""Posts events to other people's servers: signed, within a time, never to an address of one's own network.

Source: Standard Webhooks 1.0 (headers, signature); RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from servey import __version__
from servey.channels import WebhookEventChannel
from servey.errors import ActionError, NotFound
from servey.queues import Job

if TYPE_CHECKING:
    import httpcore2

    from servey.runtime import Runtime
    from servey.settings import Settings

_READ_BYTES = 1 << 16
_SHOWN_CHARACTERS = 500


async def deliver(runtime: Runtime, job: Job) -> None:
    """Posts the event of a job to its channel's URL.

    Errors: ActionError 502 for what may be better later, with ``Retry-After`` where the receiver says when; 424 for what
    will not; NotFound where the app has no such channel any more.
    """
    channel = next(
        (each for each in runtime.catalog.channels_of(WebhookEventChannel) if each.name == job.channel), None
    )
    if channel is None:
        raise NotFound(f"There is no webhook channel '{job.channel}' any more")
    runtime.deliveries[channel.name] += 1
    try:
        await _post_event(runtime, channel, job)
    finally:
        runtime.deliveries[channel.name] -= 1


async def _post_event(runtime: Runtime, channel: WebhookEventChannel[Any], job: Job) -> None:
    body = to_json(job.params)
    headers = {**channel.headers, **signed_headers(channel.secret, job.id, body, int(time.time()))}
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
    """How long a ``Retry-After`` asks to wait; None for what says nothing."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0, round(moment.timestamp() - time.time()))


def signed_headers(secret: str | None, message_id: str, body: bytes, timestamp: int) -> dict[str, str]:
    """The headers of a delivery; without a secret none signs it.

    Shape: several secrets, one space between them, give as many signatures, so that one can be changed for another.
    """
    headers = {
        "content-type": "application/json",
        "user-agent": f"servey/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
    }
    if secret is not None:
        content = f"{message_id}.{timestamp}.".encode() + body
        made = (hmac.new(key_of(each), content, hashlib.sha256).digest() for each in secret.split())
        headers["webhook-signature"] = " ".join(f"v1,{base64.b64encode(each).decode()}" for each in made)
    return headers


def key_of(secret: str) -> bytes:
    """The bytes of a secret: what follows ``whsec_`` is base64, anything else is taken as it is."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return secret.encode()


async def post(
    url: str, headers: dict[str, str], body: bytes, *, network: httpcore2.AsyncNetworkBackend
) -> tuple[int, dict[str, str], str]:
    """The status, the headers and the beginning of the text that a server answers; no redirect is followed.

    Errors: ActionError 502 for a network that fails, 424 for an address that is refused.
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
    """What deliveries connect through: in production to public addresses only."""
    from servey.jobs.addresses import PublicNetwork, system_network

    return system_network() if settings.is_dev else PublicNetwork()
