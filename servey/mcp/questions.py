"""Questions that an action asks the person behind its client (elicitation).

A call that asks ends with its question. The client sends the call again with the answer, and the action starts again, so
that any process can answer.
Source: MCP 2025-11-25, "Elicitation"; MCP 2026-07-28, "Multi Round-Trip Requests".
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from servey.calls.validation_errors import readable_errors
from servey.compat.json_schema import flat_schema_of
from servey.core.errors import ActionError, CannotAsk, InvalidParams, ServeyError
from servey.mcp.messages import INVALID_PARAMS, META_CLIENT_CAPABILITIES, ProtocolError, Request, missing_capability
from servey.mcp.progress import Progress

T = TypeVar("T")

_ACTIONS = ("accept", "decline", "cancel")
_FORMATS = ("email", "uri", "date", "date-time")
_KEPT = {
    "string": ("minLength", "maxLength", "format", "enum"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
    "array": ("minItems", "maxItems", "items"),
}
"""The types that a form can have, and what it may say of them. The answer is validated against all of the model."""


class InputRequired(ActionError):
    """A call asks a question that has no answer yet. It is no `CannotAsk`, which an action may catch to do without one."""

    def __init__(self, key: str, params: Mapping[str, Any], answers: Mapping[str, Any]) -> None:
        super().__init__(428, "input_required", "This action asks a question; call it again with the answer")
        self.key = key
        self.params = params
        self.answers = answers

    def members(self) -> dict[str, Any]:
        """Return the result of a modern version. The state is what the client has answered before."""
        question = {"method": "elicitation/create", "params": self.params}
        return {"inputRequests": {self.key: question}, "requestState": to_json(self.answers).decode()}


class Client:
    """The client of one try of a call.

    Shape: ``answers`` are what it has answered so far, or None if it cannot be asked; ``is_cached`` says whether the
    server caches results of the action.
    """

    def __init__(self, progress: Progress | None, answers: Mapping[str, Any] | None, is_cached: bool) -> None:
        self._progress = progress
        self._answers = answers
        self._is_cached = is_cached
        self._asked: Counter[str] = Counter()

    def report(self, done: float, total: float | None = None) -> None:
        """Tell how far the call is; from any thread."""
        if self._progress is not None:
            self._progress.report(done, total)

    def ask(self, model: type[T], message: str) -> T | None:
        """Return the answer to a question, or None if the person declined. Errors: those of `Context.ask`; InputRequired."""
        if self._answers is None:
            raise CannotAsk()
        if self._is_cached:
            raise ServeyError(
                "An action that asks cannot have its results cached on the server, because they depend on the answer; "
                "use TtlCacheControl(..., server=False)"
            )
        adapter, schema = _form_of(cast("Any", model))
        params = {"mode": "form", "message": message, "requestedSchema": schema}
        # By what the question says, so that an answer is never one to another question.
        digest = urlsafe_b64encode(hashlib.sha256(to_json(params)).digest()[:12]).decode()
        self._asked[digest] += 1
        key = f"{digest}.{self._asked[digest]}"
        if key not in self._answers:
            raise InputRequired(key, params, self._answers)
        answer = self._answers[key]
        if answer["action"] != "accept":
            return None
        try:
            answered: T = adapter.validate_python(answer.get("content") or {})
        except ValidationError as error:
            raise InvalidParams([each | {"loc": ("answer", *each["loc"])} for each in readable_errors(error)]) from None
        return answered


@lru_cache(256)
def _form_of(model: Any) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Return the validator of answers and the schema of a form. Errors: ServeyError for a type that is no flat form."""
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    schema = flat_schema_of(adapter)
    fields = schema.get("properties")
    if schema.get("type") != "object" or not fields:
        raise ServeyError(f"{_name(model)} cannot be asked for: use a Pydantic model or a dataclass with fields")
    shown = {name: _field(model, name, each, schema.get("$defs", {})) for name, each in fields.items()}
    required = {"required": schema["required"]} if "required" in schema else {}
    return adapter, {"type": "object", "properties": shown, **required}


def _field(model: Any, name: str, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    about = {key: schema[key] for key in ("title", "description", "default") if schema.get(key) is not None}
    field = _choices(schema, defs)
    kind = str(field.get("type"))
    is_form = kind in _KEPT and all(isinstance(each, str) for each in field.get("enum", ()))
    if kind == "array":
        items = _choices(field.get("items", {}), defs)
        is_form = items.get("type") == "string" and "enum" in items
        field["items"] = {key: items[key] for key in ("type", "enum") if key in items}
    if not is_form:
        raise ServeyError(
            f"{_name(model)} cannot be asked for, because of its field '{name}': a form has texts, numbers, bools, and "
            "choices among texts, one or several"
        )
    made = {key: field[key] for key in ("type", *_KEPT[kind]) if key in field}
    if made.get("format") not in _FORMATS:
        made.pop("format", None)
    return about | made


def _choices(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with what it refers to, and one fixed value as a choice among one."""
    made = dict(schema)
    if "$ref" in made:
        made = {**defs.get(made.pop("$ref").rpartition("/")[2], {}), **made}
    if "const" in made:
        made["enum"] = [made.pop("const")]
    return made


def _name(model: Any) -> str:
    return f"'{getattr(model, '__name__', model)}'"


def can_be_asked(capabilities: Any) -> bool:
    """Whether a client that has these capabilities shows forms."""
    found = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    return isinstance(found, Mapping) and (not found or "form" in found)


def check_asked(error: ActionError, request: Request) -> None:
    """Errors: ProtocolError for a modern client that has not declared that it can be asked, if a call failed for that."""
    if isinstance(error, CannotAsk) and request.is_modern:
        raise missing_capability({"elicitation": {}})


def answers_of(request: Request) -> Mapping[str, Any] | None:
    """Return what a modern client has answered, or None if it cannot be asked. Errors: ProtocolError."""
    if not can_be_asked(request.meta.get(META_CLIENT_CAPABILITIES)):
        return None
    state, responses = request.params.get("requestState"), request.params.get("inputResponses")
    try:
        before = {} if state is None else from_json(state)
    except (ValueError, TypeError):
        before = None
    return checked_answers(before) | checked_answers({} if responses is None else responses)


def checked_answers(given: Any) -> dict[str, Any]:
    """Return answers by the keys of their questions. Errors: ProtocolError. The client may send what it wants."""
    if not isinstance(given, dict) or not all(_is_answer(each) for each in given.values()):
        raise ProtocolError(
            INVALID_PARAMS, "'inputResponses' and 'requestState' are not answers to this call's questions"
        )
    return given


def _is_answer(given: Any) -> bool:
    return isinstance(given, dict) and given.get("action") in _ACTIONS and isinstance(given.get("content"), dict | None)
