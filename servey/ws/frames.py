"""The frames of ``/subscription``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic_core import from_json, to_json

from servey.core.errors import ActionError
from servey.events.items import Event

SUBPROTOCOL = "servey"
_BEARER = "bearer."

ClientFrameType: TypeAlias = Literal["Subscribe", "Unsubscribe", "Authorize"]


@dataclass(frozen=True)
class ClientFrame:
    """A frame that a client sent."""

    type: ClientFrameType
    payload: str
    after: str | None = None
    subscriber_id: str | None = None


def invalid_frame(detail: str) -> ActionError:
    """The error for an invalid frame."""
    return ActionError(422, "invalid_frame", detail)


def read_frame(text: str | None, limit_bytes: int) -> ClientFrame:
    """Parse a client's text frame. Errors: ActionError ``invalid_frame``."""
    if text is None:
        raise invalid_frame("Send text frames of JSON, not binary ones")
    if len(text) > limit_bytes or len(text.encode("utf-8", "replace")) > limit_bytes:
        raise invalid_frame(f"The frame is over the limit of {limit_bytes} bytes")
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise invalid_frame("The frame is not JSON") from None
    if not isinstance(found, dict):
        raise invalid_frame('The frame is not a JSON object such as {"type": "Subscribe", "payload": "CHANNEL"}')
    kind, payload = found.get("type"), found.get("payload")
    after, subscriber_id = found.get("after"), found.get("subscriber_id")
    if kind not in ("Subscribe", "Unsubscribe", "Authorize"):
        raise invalid_frame("The frame's type is not Subscribe, Unsubscribe or Authorize")
    if not isinstance(payload, str):
        raise invalid_frame(f"The payload of {kind} is a {'token' if kind == 'Authorize' else 'channel'}, a string")
    for name, value in (("after", after), ("subscriber_id", subscriber_id)):
        if not (value is None or isinstance(value, str)):
            raise invalid_frame(f"{name} is a string")
    return ClientFrame(kind, payload, after, subscriber_id)


def token_of(subprotocols: list[str]) -> str | None:
    """The token from the subprotocol ``bearer.TOKEN``, or None."""
    if SUBPROTOCOL not in subprotocols:
        return None
    return next((name.removeprefix(_BEARER) for name in subprotocols if name.startswith(_BEARER)), None)


def server_frame(kind: str, **fields: Any) -> str:
    """A server frame, without the fields that are None."""
    given = {name: value for name, value in fields.items() if value is not None}
    return to_json({"type": kind, **given}, fallback=str).decode()


def error_frame(error: ActionError, channel: str | None = None) -> str:
    """The Error frame of an error."""
    return server_frame("Error", code=error.code, detail=error.detail, channel=channel)


def event_frame(event: Event) -> bytes:
    """The frame of an event on a socket of many channels, as UTF-8; the payload is embedded unchanged."""
    cursor = b"" if event.cursor is None else b',"cursor":"%s"' % event.cursor.encode()
    return b'{"type":"Event","channel":"%s","payload":%s%s}' % (event.channel.name.encode(), event.payload, cursor)


def close_reason(error: ActionError) -> str:
    """An error's text, cut to the 123 bytes that a close frame can hold."""
    return str(error.detail).encode()[:120].decode(errors="ignore")
