"""What OpenAPI says of an action's route: FastAPI writes the document, this gives it the facts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from fastapi import Body, File, Form, params
from fastapi.security import HTTPBearer
from fastapi.utils import create_model_field
from pydantic import BaseModel, GetCoreSchemaHandler, PydanticUserError
from pydantic_core import CoreSchema, to_jsonable_python

from servey.access import ALLOW_ALL, required_scopes, rule_text
from servey.actions import Action, camel_case
from servey.cache import CacheControl, TimestampCacheControl, TtlCacheControl
from servey.compat import fastapi as compat
from servey.dependencies import Injection
from servey.invoke import Plan
from servey.params import Param, params_type
from servey.routers.query import Places, Shape, first_line, leaves, shapes_of
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


ERROR_MODELS = (ErrorBody, InvalidParamsBody)


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


class OnDemand:
    """An attribute of a route that only the document asks for: made then, whatever FastAPI sets it to."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = f"_{name}_on_demand"

    def __get__(self, route: Any, owner: type | None = None) -> Any:
        facts = vars(route) if route is not None else {}
        if self._key not in facts and "served" in facts:
            facts[self._key] = self._make(route)
        return facts.get(self._key)

    def __set__(self, route: Any, value: Any) -> None:
        """FastAPI knows nothing of an action's parameters."""


def body_of_route(route: Any) -> Any:
    """The field that stands for the body of an action's route; None where there is none."""
    action = route.served.action
    return body_of(action, route.places.body, route.served.runtime.plan(action).injection)


def extra_of_route(route: Any) -> dict[str, Any] | None:
    """What the document says of an action's route beside what FastAPI knows."""
    action = route.served.action
    plan = route.served.runtime.plan(action)
    parameters = parameters_of(action, route.places, route.dependant)
    extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if plan.authorization and not plan.guarded:
        # Anyone may call, and a token changes what they get.
        extra["security"] = [{}, {route.served.scheme.scheme_name: []}]
    return extra or None


def responses_of(plan: Plan, trigger: WebTrigger, *, has_body: bool) -> dict[int | str, dict[str, Any]]:
    """The answers of an action beside its result."""
    answers: dict[int | str, dict[str, Any]] = {
        "default": {"model": ErrorBody, "description": "Any other error"},
        422: {"model": InvalidParamsBody, "description": "Invalid parameters"},
        504: {"model": ErrorBody, "description": f"Not done within {plan.action.timeout:g} s"},
    }
    if plan.guarded:
        answers[401] = {"model": ErrorBody, "description": "No valid token"}
        answers[403] = {"model": ErrorBody, "description": f"Not allowed: {access_text(plan)}"}
    if has_body:
        answers[413] = {"model": ErrorBody, "description": "The body is too large"}
        answers[415] = {"model": ErrorBody, "description": "The body is in another media type"}
    ok: dict[str, Any] = {}
    examples = result_examples(plan.action)
    if examples:
        ok = {"content": {"application/json": {"examples": examples}}}
    if plan.action.signature.streams:
        # OpenAPI 3.1 has no word for the schema of one item, so it stands as an extension, whole.
        shown = {"schema": {"type": "string"}, "x-item-schema": _result_schema(plan.action)}
        ok = {"description": "A stream of items", "content": {"application/jsonl": shown, "text/event-stream": shown}}
    if plan.action.result is None:
        ok = {"description": "Whatever the action answers", "content": {"*/*": {}}}
    control = plan.action.cache_control
    if control is not None and not plan.action.signature.streams:
        reads = trigger.method in ("GET", "HEAD")
        ok = {**ok, "headers": _cache_headers(control, reads=reads)}
        if reads:
            answers[304] = {"description": "The client has it already", "headers": ok["headers"]}
            answers[412] = {"model": ErrorBody, "description": "It is not what the client has"}
    if ok:
        answers[200] = ok
    return answers


@cache
def error_field(model: type[BaseModel]) -> compat.ModelField:
    """What FastAPI keeps of the model of an answer: made once, for all routes."""
    return create_model_field(name=model.__name__, type_=model, mode="serialization")


def _cache_headers(control: CacheControl, *, reads: bool) -> dict[str, Any]:
    described = {"Cache-Control": f"How long it holds good: {control}"}
    if isinstance(control, TtlCacheControl):
        described["Expires"] = "The same as a date"
    if reads:
        described["ETag"] = "A hash of its bytes, for `If-None-Match`"
    if reads and isinstance(control, TimestampCacheControl):
        described["Last-Modified"] = f"Its `{control.updated_at_attr}`, for `If-Modified-Since`"
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in described.items()}


def access_text(plan: Plan) -> str:
    """Who may call an action, in words."""
    if plan.needs_token and plan.action.access_control is ALLOW_ALL:
        return "any valid token"
    return rule_text(plan.action.access_control)


def check_result(action: Action) -> None:
    """Makes sure that a result can be shown. Errors: ConfigError for one that no JSON can stand for."""
    try:
        _result_schema(action)
    except PydanticUserError as error:
        raise action.problem(f"the result is of a type that no JSON stands for: {first_line(error)}") from error


def _result_schema(action: Action) -> dict[str, Any]:
    if action.result is None:
        return {}
    schema = action.result.json_schema(mode="serialization")
    return Shape(schema, schema.get("$defs", {})).described()


def result_model(action: Action) -> Any:
    """The type that stands for a result in the document."""
    type_ = action.result_type
    try:
        hash(type_)
    except TypeError:
        # FastAPI keeps types in sets, and some annotations hold what can not be in one.
        def core(cls: type, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
            return handler.generate_schema(type_)

        return type("Result", (), {"__get_pydantic_core_schema__": classmethod(core)})
    return type_


def result_examples(action: Action) -> dict[str, Any]:
    """The results of the examples that are meant for documents."""
    return {
        example.name: {"summary": example.description or example.name, "value": _plain(example.result)}
        for example in action.examples
        if example.include_in_schema and example.error is None
    }


def parameters_of(action: Action, places: Places, dependant: compat.Dependant) -> list[dict[str, Any]]:
    """The path and query parameters of a route, with the action's examples; without those that FastAPI shows already,
    since dependencies take them too.

    Shape: OpenAPI 3.1 Parameter Objects.
    """
    described = []
    shapes = shapes_of(action)
    names = {_shown_name(param, places): param for param in action.signature.client if _is_shown(param)}
    shown_already = Injection(dependant).in_address
    given = {name: shapes[name] for name in names if name in places.path | places.query and name not in shown_already}
    for key, shape, wanted in leaves(given):
        top = key.partition(".")[0] if key not in given else key
        in_path = key in places.path
        schema = {name: value for name, value in shape.described().items() if name != "description"}
        parameter: dict[str, Any] = {
            "name": key,
            "in": "path" if in_path else "query",
            "required": in_path or (wanted and names[top].required),
            "schema": schema,
        }
        if names[top].info.deprecated:
            parameter["deprecated"] = True
        if "description" in shape.schema:
            parameter["description"] = shape.schema["description"]
        examples = _parameter_examples(action, key)
        if examples:
            parameter["examples"] = examples
        described.append(parameter)
    return described


def _shown_name(param: Param, places: Places) -> str:
    return next((name for name in param.names if name in places.path), param.alias)


def _is_shown(param: Param) -> bool:
    marks = (param.info, *getattr(param.annotation, "__metadata__", ()))
    return all(getattr(mark, "include_in_schema", True) for mark in marks)


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


def body_of(action: Action, names: Collection[str], injection: Injection | None) -> Any:
    """The field that stands for a route's body in the document; None where there is no body."""
    injected = injection.in_body if injection is not None else ()
    own = tuple(param for param in action.signature.client if param.alias in names)
    params_shown = own + tuple(param for param in injected if param.alias not in names)
    if not params_shown:
        return None
    everything = params_shown == action.signature.client
    type_ = action.params_type if everything else params_type(f"{camel_case(action.name)}Input", params_shown)
    required = any(param.required for param in params_shown)
    kind: Any = Body
    if injection is not None and injection.takes_form:
        kind = File if any(isinstance(param.info, params.File) for param in injected) else Form
    field_info = kind(... if required else None, openapi_examples=_body_examples(action, names) or None)
    field_info.annotation = type_
    return create_model_field(name=f"{action.name}_body", type_=type_, field_info=field_info, mode="validation")


def _body_examples(action: Action, names: Collection[str]) -> dict[str, Any]:
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
