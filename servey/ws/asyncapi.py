"""The AsyncAPI document of an app's event channels. Source: AsyncAPI 3.0.0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from servey.core.access import ALLOW_ALL, required_scopes, rule_text
from servey.core.channels import BackgroundActionChannel, EventChannel, WebhookEventChannel, WebsocketEventChannel
from servey.runtime.runtime import Runtime

_FRAMES = "subscription"
_TOKEN = {"$ref": "#/components/securitySchemes/token"}
_TEXT = {"type": "string"}


def asyncapi_document(
    runtime: Runtime, *, title: str, version: str, host: str, secure: bool = False, base: str = ""
) -> dict[str, Any]:
    """The names, payloads and access rules of an app's channels as an AsyncAPI document."""
    channels = runtime.catalog.channels
    schemas, definitions = _schemas(channels)
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "servers": {
            "app": {
                "host": host,
                "protocol": "wss" if secure else "ws",
                "description": "Websockets; the same paths serve server-sent events to a plain GET.",
                **({"pathname": base} if base else {}),
            }
        },
        "channels": {},
        "operations": {},
        "components": {
            "messages": {},
            "schemas": definitions,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "In the header Authorization, in an Authorize frame, or from a browser as the "
                    "subprotocols 'servey' and 'bearer.TOKEN'.",
                }
            },
        },
    }
    if any(isinstance(channel, WebsocketEventChannel) for channel in channels):
        _add_frames(document)
    for channel in channels:
        document["components"]["messages"][channel.name] = {
            "name": channel.name,
            "title": f"An event of {channel.name}",
            "contentType": "application/json",
            "payload": schemas[channel.name],
        }
        _add_channel(document, channel)
    return document


def _add_channel(document: dict[str, Any], channel: EventChannel) -> None:
    described: dict[str, Any] = {
        "title": channel.name,
        "messages": {"event": {"$ref": f"#/components/messages/{channel.name}"}},
    }
    operation: dict[str, Any] = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/event"}],
    }
    if isinstance(channel, WebsocketEventChannel):
        described |= {
            "address": f"/subscription/{channel.name}",
            "description": channel.description or "Events for connected clients.",
            "servers": [{"$ref": "#/servers/app"}],
            "bindings": {"ws": {"method": "GET"}},
            "x-servey": {"kind": "websocket", "history": channel.history, "access": rule_text(channel.access_control)},
        }
        operation["summary"] = (
            "Each text frame is one event; /subscription/CHANNEL/ID also receives events for that ID."
        )
        if channel.access_control is not ALLOW_ALL:
            scopes = ", ".join(required_scopes(channel.access_control))
            operation["security"] = [_TOKEN]
            operation["description"] = f"Requires a token with the scope {scopes}." if scopes else "Requires a token."
    elif isinstance(channel, BackgroundActionChannel):
        described |= {
            "address": None,
            "description": f"Each event calls the action '{channel.action.name}' later, as a job.",
            "servers": [],
            "x-servey": {"kind": "background", "action": channel.action.name, "delay": channel.delay},
        }
        operation["action"] = "receive"
        operation["summary"] = channel.action.summary or f"Calls {channel.action.name}."
    else:
        described |= _webhook(document, channel)
        operation["summary"] = (
            "Each event is posted at least once; it is signed (Standard Webhooks) if there is a secret."
        )
    document["channels"][channel.name] = described
    document["operations"][f"{channel.name}.{operation['action']}"] = operation


def _webhook(document: dict[str, Any], channel: WebhookEventChannel[Any]) -> dict[str, Any]:
    url = urlsplit(channel.url)
    # The rest of a webhook's URL is often a secret.
    host = url.hostname or "unknown"
    document["servers"][f"webhook.{channel.name}"] = {
        "host": f"{host}:{url.port}" if url.port else host,
        "protocol": url.scheme.lower(),
        "description": f"Receives the events of {channel.name}.",
    }
    return {
        "address": None,
        "description": f"Each event is posted to {host}.",
        "servers": [{"$ref": f"#/servers/webhook.{channel.name}"}],
        "bindings": {},
        "x-servey": {"kind": "webhook", "signed": channel.secret is not None, "timeout": channel.timeout},
    }


def _add_frames(document: dict[str, Any]) -> None:
    """Describe the socket that carries many channels."""
    if _FRAMES in document["channels"]:
        return
    client_frames = {
        "Subscribe": {"payload": _TEXT, "after": _TEXT, "subscriber_id": _TEXT},
        "Unsubscribe": {"payload": _TEXT},
        "Authorize": {"payload": _TEXT},
    }
    server_frames = {
        "Subscribed": {"channel": _TEXT, "cursor": _TEXT, "recovered": {"type": "boolean"}, "subscriber_id": _TEXT},
        "Unsubscribed": {"channel": _TEXT},
        "Authorized": {},
        "Event": {"channel": _TEXT, "payload": {}, "cursor": _TEXT},
        "Error": {"code": _TEXT, "detail": _TEXT, "channel": _TEXT},
    }
    for kind, fields in (client_frames | server_frames).items():
        document["components"]["messages"][f"frame.{kind}"] = {
            "name": kind,
            "contentType": "application/json",
            "payload": {
                "type": "object",
                "properties": {"type": {"const": kind}, **fields},
                "required": [
                    "type",
                    *(["payload"] if kind in client_frames else ["channel"] if kind == "Event" else []),
                ],
            },
        }
    document["channels"][_FRAMES] = {
        "address": "/subscription",
        "title": "Many channels on one socket",
        "description": "Send frames to subscribe to channels; 'after' resumes after a cursor.",
        "servers": [{"$ref": "#/servers/app"}],
        "messages": {
            kind: {"$ref": f"#/components/messages/frame.{kind}"} for kind in (*client_frames, *server_frames)
        },
        "bindings": {"ws": {"method": "GET"}},
        "x-servey": {"kind": "frames"},
    }
    for action, kinds in (("receive", client_frames), ("send", server_frames)):
        document["operations"][f"{_FRAMES}.{action}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{_FRAMES}"},
            "summary": "Frames that a client sends." if action == "receive" else "Frames that the app sends.",
            "messages": [{"$ref": f"#/channels/{_FRAMES}/messages/{kind}"} for kind in kinds],
        }


def _schemas(channels: Iterable[EventChannel]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of each channel's events, and their shared definitions."""
    adapters: list[tuple[str, Any, TypeAdapter[Any]]] = [
        (channel.name, "serialization", channel.event) for channel in channels
    ]
    if not adapters:
        return {}, {}
    found, whole = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")
    schemas = {name: _plain(schema) for (name, _), schema in found.items()}
    return schemas, {name: _plain(schema) for name, schema in whole.get("$defs", {}).items()}


def _plain(schema: Any) -> Any:
    """A schema in AsyncAPI's form, whose discriminators are names; OpenAPI's are objects."""
    if isinstance(schema, Mapping):
        return {
            key: value["propertyName"]
            if key == "discriminator" and isinstance(value, Mapping) and "propertyName" in value
            else _plain(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    return schema
