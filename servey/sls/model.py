"""A model of an app's AWS resources: functions and their events, other resources.

It depends on no deployment tool; `serverless.py` writes it as files of the Serverless Framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

MAIN_FUNCTION = "servey"
"""The function that handles everything that no other function handles."""
STREAM_FUNCTION = "stream"
"""The function behind the URL that streams responses."""
WRAPPER = "servey_stream"
"""The script in the package that starts its runtime."""


@dataclass(frozen=True)
class HttpEvent:
    """Requests to one method and path of the HTTP API; without a path, all requests that match no other route.

    Shape: ``authorizer`` is the name of the authorizer that verifies their callers.
    """

    method: str | None = None
    path: str | None = None
    authorizer: str | None = None


@dataclass(frozen=True)
class SocketEvent:
    """Events of one route of the websocket API."""

    route: str


@dataclass(frozen=True)
class QueueEvent:
    """Messages of a queue. ``queue`` is its logical id."""

    queue: str


@dataclass(frozen=True)
class ScheduleEvent:
    """A schedule: its EventBridge expression, and the action that it calls."""

    expression: str
    action: str
    trigger: str


Event: TypeAlias = HttpEvent | SocketEvent | QueueEvent | ScheduleEvent


@dataclass(frozen=True)
class Function:
    """One Lambda function. Units: ``timeout`` in seconds."""

    name: str
    handler: str
    timeout: int
    events: tuple[Event, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stack:
    """All AWS resources of one app in one stage.

    Shape: ``resources`` are CloudFormation resources by logical id.
    """

    functions: tuple[Function, ...]
    environment: Mapping[str, Any]
    resources: Mapping[str, Any]
    outputs: Mapping[str, Any]


def named(name: str) -> str:
    """Return a physical name that is unique across services and stages."""
    return "${self:service}-${sls:stage}-" + name


def arn_of(logical_id: str) -> dict[str, Any]:
    """Return a reference to the ARN of a resource in the same stack."""
    return {"Fn::GetAtt": [logical_id, "Arn"]}
