"""What the console shows of channels: who listens, how many events there are, the last of them, and their schema."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from pydantic import PydanticUserError

from servey.compat.json_schema import json_schema_of
from servey.console.samples import Samples, points, published_of
from servey.core.access import rule_text
from servey.core.channels import BackgroundActionChannel, EventChannel, WebsocketEventChannel
from servey.core.errors import ActionError
from servey.core.messages import Message, Position
from servey.observability.metrics import DELIVERED, SUBSCRIBERS_DROPPED
from servey.observability.redaction import without_secrets
from servey.runtime.runtime import Runtime

MOST_EVENTS = 50
MOST_SUBJECTS = 20
MOST_VALUES = 1000
_LONGEST = 4000
"""How many characters of one event are shown."""
_LINE = 120
"""How many characters of an event are shown on one line."""
CHART = (720, 48)
_WHY_DROPPED = ("slow", "expired", "forbidden")


@dataclass(frozen=True)
class ChannelRow:
    """A channel, as this process knows it.

    Shape: ``subscribers``, ``delivered`` and ``dropped`` are None for channels that nobody subscribes to; ``published`` and
    ``last_minute`` are None if they are not known; ``target`` is what receives the events of the others.
    """

    name: str
    kind: str
    description: str
    access: str
    history: int
    target: str
    subscribers: int | None
    delivered: int | None
    dropped: int | None
    published: int | None
    last_minute: int | None


@dataclass(frozen=True)
class ShownEvent:
    """An event of a channel's history: its JSON without secrets, its cursor, and to whom it went."""

    text: str
    cursor: str
    to: str


@dataclass(frozen=True)
class Past:
    """The last events of a channel, the latest first; ``problem`` is why they cannot be shown."""

    events: Sequence[ShownEvent] = ()
    problem: str = ""


def row_of(runtime: Runtime, channel: EventChannel, samples: Samples) -> ChannelRow:
    """Return what is known of a channel."""
    metrics, name = runtime.metrics, channel.name
    published = published_of(runtime, channel)
    rate = None if published is None else samples.in_last_minute(name, published)
    if isinstance(channel, WebsocketEventChannel):
        subscribers = sum(1 for _ in runtime.subscriptions.members(name))
        delivered = int(metrics.value(DELIVERED, name))
        dropped = int(sum(metrics.value(SUBSCRIBERS_DROPPED, name, why) for why in _WHY_DROPPED))
        access, text = rule_text(channel.access_control), channel.description or ""
        facts = (subscribers, delivered, dropped, published, rate)
        return ChannelRow(name, "websocket", text, access, channel.history, "", *facts)
    if isinstance(channel, BackgroundActionChannel):
        text = channel.action.summary
        return ChannelRow(name, "background", text, "", 0, channel.action.name, None, None, None, None, None)
    host = urlsplit(channel.url).hostname or ""  # the rest of the URL may contain a secret
    return ChannelRow(name, "webhook", "", "", 0, host, None, None, None, published, rate)


def rows_of(runtime: Runtime, samples: Samples) -> list[ChannelRow]:
    """Return what is known of each channel."""
    return [row_of(runtime, each, samples) for each in runtime.catalog.channels]


def line_of(row: ChannelRow, samples: Samples) -> str:
    """Return the line of the events that were published in the last half hour, as points of SVG."""
    return points(samples.published(row.name, row.published or 0), *CHART)


def subjects_of(runtime: Runtime, channel: EventChannel) -> list[tuple[str | None, int]]:
    """Return who subscribes here most often, with the number of subscriptions; None are those without a token."""
    members = runtime.subscriptions.members(channel.name)
    subjects = Counter(each.authorization.subject_id if each.authorization else None for each in members)
    return subjects.most_common(MOST_SUBJECTS)


async def past_of(runtime: Runtime, channel: EventChannel) -> Past:
    """Return the last events of a channel with history."""
    if not isinstance(channel, WebsocketEventChannel) or not channel.history:
        return Past()
    try:
        newest = (await runtime.bus.recall(channel.name, None)).position
        most = min(channel.history, MOST_EVENTS, newest.offset)
        found = await runtime.bus.recall(channel.name, Position(newest.epoch, newest.offset - most))
    except ActionError as error:
        return Past(problem=error.detail)
    if found.messages is None:
        return Past(problem="The last events are not complete, so they cannot be shown.")
    schema = schema_of(channel)
    latest = list(found.messages)[: -MOST_EVENTS - 1 : -1]
    return Past([_shown(each, schema) for each in latest])


def _shown(message: Message, schema: Mapping[str, Any]) -> ShownEvent:
    value = json.loads(message.payload)
    try:
        plain = without_secrets(value, [schema], schema.get("$defs", {}), count(MOST_VALUES, -1))
        text = json.dumps(plain, ensure_ascii=False)
        text = text if len(text) <= _LINE else json.dumps(plain, ensure_ascii=False, indent=2)
    except RecursionError:
        text = "•••"
    text = text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
    # Whoever knows the id of a subscriber can listen under it.
    to = f"subject {message.subject}" if message.subject is not None else ""
    to = "one subscriber" if message.subscriber_id is not None else to
    return ShownEvent(text, "" if message.position is None else message.position.cursor, to)


def schema_of(channel: EventChannel) -> dict[str, Any]:
    """Return the JSON schema of a channel's events, with the definitions that it refers to; {} if they have none."""
    try:
        schema = json_schema_of(channel.event, "serialization")
    except PydanticUserError:
        return {}
    definitions = schema.pop("$defs", {})
    found: dict[str, Any] = {}
    missing = _references(schema)
    while missing:
        name = missing.pop()
        if name in definitions and name not in found:
            found[name] = definitions[name]
            missing |= _references(found[name])
    return {**schema, "$defs": dict(sorted(found.items()))} if found else schema


def _references(schema: Any) -> set[str]:
    return {each.rpartition("/")[2] for each in re.findall(r'"\$ref": "([^"]+)"', json.dumps(schema))}


def sample_of(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value that fits a JSON schema in most cases, to begin a test event with."""
    if depth > 6:
        return None
    if "$ref" in schema:
        return sample_of(definitions.get(str(schema["$ref"]).rpartition("/")[2], {}), definitions, depth + 1)
    for name in ("examples", "enum"):
        found = schema.get(name)
        if found and isinstance(found, list):  # OpenAPI's examples by name are written there too
            return found[0]
    for name in ("default", "const"):
        if name in schema:
            return schema[name]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return sample_of(choices[0], definitions, depth + 1)
    kind = schema.get("type")
    if kind == "object":
        members = schema.get("properties", {})
        return {name: sample_of(each, definitions, depth + 1) for name, each in members.items()}
    if kind == "array":
        items = schema.get("prefixItems") or [schema.get("items", {})]
        return [sample_of(each, definitions, depth + 1) for each in items]
    if kind == "string":
        return _TEXTS.get(str(schema.get("format")), "text")
    return {"integer": 1, "number": 1.5, "boolean": True}.get(str(kind))


_TEXTS = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T12:00:00Z",
    "time": "12:00:00",
    "uuid": "6f2f0a4e-0d6c-4f6e-9f0b-3d2b1c0a9e8d",
    "email": "ada@example.com",
}
