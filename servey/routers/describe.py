"""What OpenAPI says of an action's route: FastAPI writes the document, this gives it the facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Body, File, params
from fastapi.security import HTTPBearer
from fastapi.utils import create_model_field
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from servey.access import required_scopes
from servey.actions import Action, camel_case
from servey.invoke import Plan
from servey.params import Param, params_type
from servey.routers.query import leaves, shapes_of
from servey.triggers import WebTrigger


class ErrorBody(BaseModel):
    """How every error but a 422 looks: a text for people, a code for programs."""

    detail: Any
    code: str


class InvalidParam(BaseModel):
    """One thing that is wrong with a request."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] | None = None


class InvalidParamsBody(BaseModel):
    """How a 422 looks, as FastAPI gives it."""

    detail: list[InvalidParam]


def operation_id(action: Action, trigger: WebTrigger, taken: set[str]) -> str:
    """An id that no other operation has: the action's name, with the method where there are several."""
    name = action.name.replace(".", "_")
    for candidate in (name, f"{name}_{trigger.method.lower()}"):
        if candidate not in taken:
            taken.add(candidate)
            return candidate
    number = 2
    while f"{candidate}_{number}" in taken:
        number += 1
    taken.add(f"{candidate}_{number}")
    return f"{candidate}_{number}"


def security_of(plan: Plan, scheme: Any) -> list[params.Depends]:
    """The security that a document shows of a guarded action; none for one that anyone may call."""
    if not plan.guarded:
        return []
    return [params.Security(scheme, scopes=list(required_scopes(plan.action.access_control)))]


def default_scheme() -> Any:
    """How a token is shown, where the app does not give them out itself."""
    return HTTPBearer(bearerFormat="JWT", scheme_name="Bearer", auto_error=False)


def responses_of(plan: Plan, *, has_body: bool) -> dict[int | str, dict[str, Any]]:
    """The answers of an action beside its result."""
    answers: dict[int | str, dict[str, Any]] = {
        "default": {"model": ErrorBody, "description": "Any other error"},
        422: {"model": InvalidParamsBody, "description": "Invalid parameters"},
        504: {"model": ErrorBody, "description": f"Not done within {plan.action.timeout:g} s"},
    }
    if plan.guarded:
        answers[401] = {"model": ErrorBody, "description": "No valid token"}
        answers[403] = {"model": ErrorBody, "description": "Not allowed"}
    if has_body:
        answers[413] = {"model": ErrorBody, "description": "The body is too large"}
        answers[415] = {"model": ErrorBody, "description": "The body is in another media type"}
    ok: dict[str, Any] = {}
    examples = result_examples(plan.action)
    if examples:
        ok = {"content": {"application/json": {"examples": examples}}}
    if plan.action.signature.streams:
        ok = {"description": "A stream of items", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    if plan.action.result is None:
        ok = {"description": "Whatever the action answers", "content": {"*/*": {}}}
    if ok:
        answers[200] = ok
    return answers


def result_examples(action: Action) -> dict[str, Any]:
    """The results of the examples that are meant for documents."""
    return {
        example.name: {"summary": example.description or example.name, "value": _plain(example.result)}
        for example in action.examples
        if example.include_in_schema and example.error is None
    }


def parameters_of(action: Action, path_names: set[str], query_names: set[str]) -> list[dict[str, Any]]:
    """The path and query parameters of a route, with the action's examples.

    Shape: OpenAPI 3.1 Parameter Objects.
    """
    described = []
    shapes = shapes_of(action)
    aliases = {param.alias: param for param in action.signature.client}
    given = {alias: shape for alias, shape in shapes.items() if alias in path_names | query_names}
    for key, shape, wanted in leaves(given):
        top = key.partition(".")[0] if key not in given else key
        in_path = key in path_names
        schema = {name: value for name, value in shape.described().items() if name != "description"}
        parameter: dict[str, Any] = {
            "name": key,
            "in": "path" if in_path else "query",
            "required": in_path or (wanted and aliases[top].required),
            "schema": schema,
        }
        if "description" in shape.schema:
            parameter["description"] = shape.schema["description"]
        examples = _parameter_examples(action, key)
        if examples:
            parameter["examples"] = examples
        described.append(parameter)
    return described


def _parameter_examples(action: Action, key: str) -> dict[str, Any]:
    found = {}
    for example in action.examples:
        if not example.include_in_schema:
            continue
        value: Any = _plain(example.params)
        for part in (key,) if isinstance(value, dict) and key in value else key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[example.name] = {"summary": example.description or example.name, "value": value}
    return found


def body_of(action: Action, names: set[str], form_fields: tuple[Param, ...]) -> Any:
    """The field that stands for a route's body in the document; None where there is no body."""
    params_shown = tuple(param for param in action.signature.client if param.alias in names) + form_fields
    if not params_shown:
        return None
    everything = params_shown == action.signature.client
    type_ = action.params_type if everything else params_type(f"{camel_case(action.name)}Input", params_shown)
    required = any(param.required for param in params_shown)
    kind: Any = File if form_fields else Body
    field_info = kind(... if required else None, openapi_examples=_body_examples(action, names) or None)
    field_info.annotation = type_
    return create_model_field(name=f"{action.name}_body", type_=type_, field_info=field_info, mode="validation")


def _body_examples(action: Action, names: set[str]) -> dict[str, Any]:
    shown = {}
    for example in action.examples:
        if example.include_in_schema and example.error is None:
            value = {name: value for name, value in _plain(example.params).items() if name in names}
            shown[example.name] = {"summary": example.description or example.name, "value": value}
    return shown


def _plain(value: Any) -> Any:
    return to_jsonable_python(dict(value) if isinstance(value, Mapping) else value, fallback=str)


def valid_in_3_1(document: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's document without what only OpenAPI 3.2 knows: the schema of one item of a stream stands as an extension."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                for content in response.get("content", {}).values():
                    if "itemSchema" in content:
                        content["x-item-schema"] = content.pop("itemSchema")
                        content["schema"] = {"type": "string"}
    return document
