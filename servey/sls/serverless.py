"""A stack as files of the Serverless Framework: `serverless.yml`, and what it includes from `serverless_servey/`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from servey.errors import ConfigError
from servey.sls.model import Event, Function, HttpEvent, QueueEvent, ScheduleEvent, SocketEvent, Stack, arn_of
from servey.sls.stack import service_name
from servey.sls.yaml import dump

FOLDER = "serverless_servey"
_NOTICE = "# Written by `servey sls`; it writes it anew each time.\n"
_MARKED = {
    "functions": f"functions: ${{file({FOLDER}/functions.yml)}}",
    "environment": f"environment: ${{file({FOLDER}/environment.yml)}}",
    "resources": f"- ${{file({FOLDER}/resources.yml)}}",
    "artifact": "artifact: .servey/lambda.zip",
}
"""The lines of `serverless.yml` that are kept up to date, by the name of their mark."""


def files_of(stack: Stack) -> dict[str, str]:
    """Every file but `serverless.yml`, by its path."""
    resources: dict[str, Any] = {"Resources": stack.resources}
    if stack.outputs:
        resources["Outputs"] = stack.outputs
    functions = {function.name: _function(function) for function in stack.functions}
    return {
        f"{FOLDER}/environment.yml": _NOTICE + dump(stack.environment),
        f"{FOLDER}/functions.yml": _NOTICE + dump(functions),
        f"{FOLDER}/resources.yml": _NOTICE + dump(resources),
        **{f"{FOLDER}/{name}": text for name, text in stack.texts.items()},
    }


def _function(function: Function) -> dict[str, Any]:
    made: dict[str, Any] = {
        "handler": function.handler,
        "timeout": function.timeout,
        "role": "ServeyRole",
        "events": [_event(event) for event in function.events],
    }
    if function.environment:
        made["environment"] = function.environment
    return made


def _event(event: Event) -> Any:
    if isinstance(event, HttpEvent):
        return {"httpApi": "*" if event.path is None else {"method": event.method, "path": event.path}}
    if isinstance(event, SocketEvent):
        return {"websocket": {"route": event.route}}
    if isinstance(event, QueueEvent):
        return {
            "sqs": {
                "arn": arn_of(event.queue),
                "batchSize": 10,
                "functionResponseType": "ReportBatchItemFailures",
                "maximumConcurrency": 10,
            }
        }
    assert isinstance(event, ScheduleEvent)
    call = {"v": 1, "action": event.action, "params": {}, "trigger": event.trigger, "time": "<time>"}
    template = json.dumps({"servey": call}).replace('"<time>"', "<time>")  # EventBridge writes the quotes itself
    return {
        "schedule": {
            "rate": [event.expression],
            "inputTransformer": {"inputPathsMap": {"time": "$.time"}, "inputTemplate": template},
        }
    }


def new_serverless_yml() -> str:
    """`serverless.yml` for a project that has none yet."""
    marked = {name: f"{line}  # servey: {name}" for name, line in _MARKED.items()}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return f"""# Yours to change. The lines that end with `# servey: ...` are kept up to date by `servey sls`.
service: {service_name()}
provider:
  name: aws
  runtime: {version}
  architecture: arm64
  stage: dev
  region: us-east-1
  memorySize: 1024
  logRetentionInDays: 30
  {marked["environment"]}
package:
  {marked["artifact"]}
{marked["functions"]}
resources:
  {marked["resources"]}
"""


def patched(text: str, place: str) -> str:
    """`serverless.yml` with its marked lines brought up to date.

    Errors: ConfigError that says which line is missing.
    """
    problems = []
    for name, line in _MARKED.items():
        mark = re.compile(rf"^([ \t]*)\S.*# servey: {name}[ \t]*$", re.MULTILINE)
        wanted = f"{line}  # servey: {name}"
        found = mark.search(text)
        if found is None:
            problems.append(f"{place} has no line marked '# servey: {name}'; where it belongs add: {wanted}")
        else:
            text = text[: found.start()] + found[1] + wanted + text[found.end() :]
    if problems:
        raise ConfigError(problems)
    return text


def wanted_files(stack: Stack, place: str) -> dict[str, str]:
    """Every file as it should be, by its path. Errors: ConfigError."""
    there = Path(place)
    main = patched(there.read_text(encoding="utf-8"), place) if there.exists() else new_serverless_yml()
    return {place: main, **files_of(stack)}


def changes(wanted: dict[str, str]) -> dict[str, str | None]:
    """The files that are not as they should be: with what they should hold, or None for one that should not be there."""
    found: dict[str, str | None] = {}
    for name, text in wanted.items():
        file = Path(name)
        if not file.exists() or file.read_bytes() != text.encode():
            found[name] = text
    for file in sorted(Path(FOLDER).glob("*")):
        if file.is_file() and file.as_posix() not in wanted:
            found[file.as_posix()] = None
    return found


def write(changed: dict[str, str | None]) -> None:
    """Makes the files what they should be."""
    for name, text in changed.items():
        file = Path(name)
        if text is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
