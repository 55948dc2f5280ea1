"""What an app needs on AWS, as facts: functions with the events that call them, a role's rights, other resources.

A renderer makes files of it for one tool; nothing here is of a tool's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

MAIN_FUNCTION = "servey"
"""The function that answers everything that no other one does."""


@dataclass(frozen=True)
class HttpEvent:
    """Requests of one method and path of the HTTP API; without a path everything that has no route of its own."""

    method: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class SocketEvent:
    """What happens on the connections of the websocket API."""

    route: str


@dataclass(frozen=True)
class QueueEvent:
    """Messages of a queue, by its logical id."""

    queue: str


@dataclass(frozen=True)
class ScheduleEvent:
    """A schedule: its expression as EventBridge writes it, and the call that it makes."""

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
class Statement:
    """What a role may do, and with what exactly."""

    actions: tuple[str, ...]
    resources: tuple[Any, ...]


@dataclass(frozen=True)
class Stack:
    """Everything of one app in one stage.

    Shape: ``resources`` are CloudFormation resources by logical id; ``texts`` are files that stand beside them.
    """

    functions: tuple[Function, ...]
    environment: Mapping[str, Any]
    statements: tuple[Statement, ...]
    resources: Mapping[str, Any]
    outputs: Mapping[str, Any]
    texts: Mapping[str, str]


def named(name: str) -> str:
    """A physical name that no other service, and no other stage of this one, has."""
    return "${self:service}-${sls:stage}-" + name


def arn_of(logical_id: str) -> dict[str, Any]:
    """The ARN of a resource of the same stack."""
    return {"Fn::GetAtt": [logical_id, "Arn"]}
