"""Recognize the kinds of Lambda events by their shape.

Source: the event samples of the AWS Lambda developer guide, for each service that it lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from servey.core.errors import ServeyError

Kind: TypeAlias = Literal["http", "websocket", "sqs", "direct", "appsync", "appsync_batch", "params", "warmup"]

_WARMERS = ("serverless-plugin-warmup", "serverless-plugin-lambda-warmup")
"""The sources of events that keep a function warm. Source: the READMEs of these plugins, and of lambda-warmer."""


class UnknownEvent(ServeyError):
    """An event of an unknown shape. The invocation fails, so that its sender notices."""

    def __init__(self, event: Any) -> None:
        what = "not an object"
        if isinstance(event, Mapping):
            what = f"an object with the keys {', '.join(sorted(map(str, event))[:8])}" if event else "empty"
        super().__init__(
            f"this function cannot handle an event that is {what}; "
            'call an action directly with {"servey": {"action": NAME, "params": {...}}}'
        )


def kind_of(event: Any, *, plain_params: bool = False) -> Kind:
    """Return the kind of an event. With ``plain_params`` any other object is the parameters of an action.

    The order matters: websocket and authorizer events have a method and a path too, like an HTTP request.
    Errors: UnknownEvent.
    """
    if isinstance(event, list) and event and all(map(_is_appsync, event)):
        return "appsync_batch"
    if not isinstance(event, Mapping):
        raise UnknownEvent(event)
    context = event.get("requestContext")
    context = context if isinstance(context, Mapping) else {}
    if context.get("connectionId") and context.get("eventType") in ("CONNECT", "MESSAGE", "DISCONNECT"):
        if not (isinstance(context["connectionId"], str) and _has_valid_parts(event)):
            raise UnknownEvent(event)
        return "websocket"
    if event.get("type") in ("REQUEST", "TOKEN") and ("methodArn" in event or "routeArn" in event):
        raise UnknownEvent(event)  # the app verifies tokens itself; this function is not a Lambda authorizer
    if "authorizationToken" in event and "queryString" in context:
        raise UnknownEvent(event)
    if _is_request(event, context):
        if not _has_valid_parts(event):
            raise UnknownEvent(event)
        return "http"
    if _is_appsync(event):
        return "appsync"
    records = event.get("Records")
    if isinstance(records, list) and records and all(map(_is_sqs_message, records)):
        return "sqs"
    # Direct calls and plain parameters are trusted. An event that may come from a service is neither, since strangers
    # can write parts of it.
    if direct_call(event) is not None and not (plain_params and "servey" not in event):
        return "direct"
    if _is_warmup(event):
        return "warmup"
    if plain_params and "servey" not in event and not _may_be_from_a_service(event):
        return "params"
    raise UnknownEvent(event)


def direct_call(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the direct call that an event is, as ``{"action": NAME, "params": {...}}``, or None."""
    if set(event) == {"servey"} and isinstance(event["servey"], Mapping):
        call: Mapping[str, Any] = event["servey"]
        return call
    if set(event) == {"action_name", "params"} and isinstance(event["params"], Mapping):  # of servey 5
        return {"action": event["action_name"], "params": event["params"]}
    return None


def _is_warmup(event: Mapping[str, Any]) -> bool:
    """Whether an event only keeps the function warm: whoever sends it, the answer is nothing."""
    return event.get("source") in _WARMERS or (
        event.get("warmer") is True and {name for name in event if not name.startswith("__WARMER")} <= _WARMER_KEYS
    )


_WARMER_KEYS = {"warmer", "concurrency", "target"}


def _may_be_from_a_service(event: Mapping[str, Any]) -> bool:
    if any(keys <= event.keys() for keys in _SERVICE_KEYS):
        return True
    records = event.get("Records")
    return isinstance(records, list) and any(
        isinstance(record, Mapping) and not record.keys().isdisjoint({"eventSource", "EventSource", "cf"})
        for record in records
    )


_SERVICE_KEYS = (
    *({name} for name in (
        "requestContext", "httpMethod", "rawPath", "rawQueryString", "multiValueHeaders", "isBase64Encoded", "routeKey",
        "methodArn", "routeArn", "authorizationToken", "detail-type", "triggerSource", "invokingEvent", "awslogs",
        "raw_path", "is_base64_encoded", "eventSource", "eventSourceArn", "deliveryStreamArn", "inputTranscript",
        "invocationSchemaVersion", "userRequest", "CodePipeline.job", "ResponseURL",
    )),
    {"messageVersion", "agent"}, {"Name", "Details"}, {"session", "request", "version"},
)  # fmt: skip
"""Keys of events that a service makes from a client's input: gateways (also of VPC Lattice), authorizers, EventBridge,
Kafka and MQ, Firehose, Cognito, Config, logs, S3, CloudFormation, CodePipeline, Lex, Bedrock, Connect, Alexa."""


def _has_valid_parts(event: Mapping[str, Any]) -> bool:
    """Whether the parts of a gateway's event that are read have the documented types."""
    texts = ("path", "rawPath", "rawQueryString", "body", "httpMethod")
    context = event["requestContext"]
    http = context.get("http")
    return (
        all(isinstance(event.get(name), str | None) for name in texts)
        and isinstance(event.get("isBase64Encoded"), bool | None)
        and _is_map(event.get("headers"), str)
        and _is_map(event.get("queryStringParameters"), str)
        and _is_map(event.get("multiValueHeaders"), list)
        and _is_map(event.get("multiValueQueryStringParameters"), list)
        and _is_list(event.get("cookies"))
        and isinstance(http, Mapping | None)
        and all(isinstance(value, str | None) for value in (http or {}).values())
        and all(isinstance(context.get(name), str | None) for name in ("stage", "domainName", "path"))
        and isinstance(context.get("identity"), Mapping | None)
    )


def _is_map(value: Any, kind: type) -> bool:
    if value is None:
        return True
    if not isinstance(value, Mapping):
        return False
    return all(
        isinstance(name, str) and (item is None or (isinstance(item, kind) and (kind is str or _is_list(item))))
        for name, item in value.items()
    )


def _is_list(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_request(event: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    if isinstance(context.get("http"), Mapping):
        return True
    return bool(context) and isinstance(event.get("httpMethod"), str) and isinstance(event.get("path"), str)


def _is_appsync(event: Any) -> bool:
    if not isinstance(event, Mapping):
        return False
    info = event.get("info")
    if not (isinstance(info, Mapping) and "arguments" in event and isinstance(event["arguments"], Mapping | None)):
        return False
    return isinstance(info.get("fieldName"), str) and isinstance(info.get("parentTypeName"), str)


def _is_sqs_message(record: Any) -> bool:
    return (
        isinstance(record, Mapping)
        and record.get("eventSource") == "aws:sqs"
        and isinstance(record.get("messageId"), str)
        and isinstance(record.get("attributes"), Mapping | None)
    )
