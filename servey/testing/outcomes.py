"""What a call of an example returned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_jsonable_python

from servey.app import Servey
from servey.core.access import Authorization, required_scopes
from servey.core.actions import Action, Example


@dataclass(frozen=True)
class Outcome:
    """The outcome of a call: a JSON value, or an error's code and detail."""

    value: Any = None
    error: str | None = None
    detail: Any = None


def serialized(action: Action, value: Any) -> Any:
    """Return a result as JSON, by the action's annotation."""
    assert action.result is not None
    return from_json(action.result.dump_json(value, by_alias=True))


def plain_params(example: Example) -> dict[str, Any]:
    """Return the parameters of an example as JSON."""
    plain: dict[str, Any] = to_jsonable_python(dict(example.params))
    return plain


def caller_of(app: Servey, action: Action, authorization: Authorization | None) -> Authorization | None:
    """Return the caller of an example: the given one, or for a guarded action one with the scopes that its rule names."""
    if authorization is None and app.runtime.plan(action).guarded:
        return Authorization(subject_id="example", scopes=frozenset(required_scopes(action.access_control)))
    return authorization


def body_of(content: bytes) -> Any:
    """Return a body as JSON, or as text if it is not JSON."""
    try:
        return from_json(content) if content else None
    except ValueError:
        return content.decode(errors="replace")
