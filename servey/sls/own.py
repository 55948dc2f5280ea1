"""What an app adds to its stack itself: environment variables and IAM statements, in ``[tool.servey.aws]``.

Source: Lambda developer guide, "Working with Lambda environment variables", reserved variables.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servey.core.errors import ConfigError
from servey.sls.iam import Statement

PLACE = "pyproject.toml, [tool.servey.aws]"
_RESERVED = re.compile(
    r"_.*|AWS_(REGION|DEFAULT_REGION|EXECUTION_ENV|ACCESS_KEY.*|SECRET_ACCESS_KEY|SESSION_TOKEN|LAMBDA_.*)"
)
_ACTION = re.compile(r"\*|[a-z0-9-]+:[A-Za-z0-9*?]+")


@dataclass(frozen=True)
class Own:
    """Environment variables and IAM statements of the app itself. Values may be CloudFormation functions."""

    environment: Mapping[str, Any] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()


def read_own(folder: Path) -> Own:
    """Return what the project's `pyproject.toml` adds. Errors: ConfigError with one line for each mistake."""
    file = folder / "pyproject.toml"
    if not file.is_file():
        return Own()
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"pyproject.toml is not valid: {error}") from None
    table = data.get("tool", {}).get("servey", {}).get("aws", {})
    problems = list(_problems(table))
    if problems:
        raise ConfigError(f"{PLACE}: {problem}" for problem in problems)
    environment = {name: _text(value) for name, value in table.get("environment", {}).items()}
    statements = (Statement(tuple(each["actions"]), tuple(each["resources"])) for each in table.get("statements", ()))
    return Own(environment, tuple(statements))


def _problems(table: Any) -> Iterator[str]:
    if not isinstance(table, dict):
        yield "it is not a table; use environment and statements"
        return
    for name in sorted(set(table) - {"environment", "statements"}):
        yield f"'{name}' is unknown; use environment and statements"
    environment, statements = table.get("environment", {}), table.get("statements", [])
    if not isinstance(environment, dict) or not isinstance(statements, list):
        yield "environment is a table and statements an array of tables: [[tool.servey.aws.statements]]"
        return
    for name, value in environment.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]+", name) or _RESERVED.fullmatch(name):
            yield f"environment: Lambda does not accept the name '{name}'; use another one"
        if not isinstance(value, str | int | float | dict):
            yield f"environment: {name} is neither a text nor a number nor a CloudFormation function; change it"
    for number, statement in enumerate(statements, 1):
        yield from (f"statement {number}: {problem}" for problem in _statement_problems(statement))


def _statement_problems(statement: Any) -> Iterator[str]:
    if not isinstance(statement, dict) or set(statement) != {"actions", "resources"}:
        yield "it needs exactly actions and resources"
        return
    actions, resources = statement["actions"], statement["resources"]
    if not (isinstance(actions, list) and actions and isinstance(resources, list) and resources):
        yield "actions and resources are lists that are not empty"
        return
    for action in actions:
        if not (isinstance(action, str) and _ACTION.fullmatch(action)):
            yield f"{action!r} is no IAM action; write e.g. 's3:GetObject'"
    for resource in resources:
        if not isinstance(resource, str | dict):
            yield f"{resource!r} is no resource; write an ARN or a CloudFormation function"


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, dict) else str(value)
