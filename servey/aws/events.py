"""What a Lambda function is called with: the shapes of events, told apart.

Source: the event samples of the AWS Lambda developer guide, for each service that it lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from servey.errors import ServeyError

Kind: TypeAlias = Literal["http", "websocket", "sqs", "direct", "appsync", "appsync_batch", "params"]


class UnknownEvent(ServeyError):
    """An event of a shape that no one here answers; whoever sent it must see that it failed."""

    def __init__(self, event: Any) -> None:
        what = f"an object with {', '.join(sorted(map(str, event))[:8])}" if isinstance(event, Mapping) else "no object"
        super().__init__(
            f"this function can not answer an event that is {what or 'empty'}; "
            'call an action directly with {"servey": {"action": NAME, "params": {...}}}'
        )


def kind_of(event: Any, *, plain_params: bool = False) -> Kind:
    """Which of the shapes an event has. ``plain_params``: any other object is an action's parameters.

    The order matters: a websocket's event and an authorizer's hold a method and a path, as a request does.
    Errors: UnknownEvent.
    """
    if isinstance(event, list) and event and all(map(_is_appsync, event)):
        return "appsync_batch"
    if not isinstance(event, Mapping):
        raise UnknownEvent(event)
    context = event.get("requestContext")
    context = context if isinstance(context, Mapping) else {}
    if context.get("connectionId") and context.get("eventType") in ("CONNECT", "MESSAGE", "DISCONNECT"):
        return "websocket"
    if event.get("type") in ("REQUEST", "TOKEN") and ("methodArn" in event or "routeArn" in event):
        raise UnknownEvent(event)  # tokens are read where the call is made; nothing here is a gateway's authorizer
    if "authorizationToken" in event and "queryString" in context:
        raise UnknownEvent(event)
    if _is_request(event, context):
        return "http"
    if _is_appsync(event):
        return "appsync"
    records = event.get("Records")
    if isinstance(records, list) and records and all(_source(record) == "aws:sqs" for record in records):
        return "sqs"
    if isinstance(event.get("servey"), Mapping):
        return "direct"
    if plain_params:
        return "params"
    raise UnknownEvent(event)


def _is_request(event: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    if isinstance(context.get("http"), Mapping):
        return True
    return bool(context) and isinstance(event.get("httpMethod"), str) and isinstance(event.get("path"), str)


def _is_appsync(event: Any) -> bool:
    if not isinstance(event, Mapping):
        return False
    info = event.get("info")
    return isinstance(info, Mapping) and "fieldName" in info and "parentTypeName" in info and "arguments" in event


def _source(record: Any) -> Any:
    return record.get("eventSource") if isinstance(record, Mapping) else None
