"""Describes an action's route for the OpenAPI document, which FastAPI generates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from fastapi import Body, File, Form, params
from fastapi.security import HTTPBearer
from fastapi.utils import create_model_field, is_body_allowed_for_status_code
from pydantic import BaseModel, GetCoreSchemaHandler, PydanticUserError, TypeAdapter
from pydantic_core import CoreSchema, to_jsonable_python

from servey.calls.injection import Injection
from servey.calls.invoke import Plan
from servey.compat import fastapi as compat
from servey.compat.json_schema import json_schema_of, surely_has_schema
from servey.core.access import ALLOW_ALL, required_scopes, rule_text
from servey.core.actions import Action
from servey.core.actions.naming import camel_case
from servey.core.params import Param, params_type
from servey.core.process import Process
from servey.core.triggers import WebTrigger
from servey.http.errors import PROBLEM_JSON
from servey.routers.rest.query import Places, first_line, shapes_of
from servey.routers.rest.rendered import LINK, described_headers
from servey.routers.rest.shapes import Shape, leaves


class ErrorBody(BaseModel, defer_build=True):
    """The body of every error except a 422: a text for people and a code for programs."""

    detail: Any
    code: str


class InvalidParam(BaseModel, defer_build=True):
    """One problem in a request."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] | None = None


class InvalidParamsBody(BaseModel, defer_build=True):
    """The body of a 422, in FastAPI's shape."""

    detail: list[InvalidParam]


class ProblemBody(BaseModel, defer_build=True):
    """Problem details. Source: RFC 9457."""

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    code: str
    errors: Any = None


ERROR_MODELS = (ErrorBody, InvalidParamsBody)


def operation_id(action: Action, trigger: WebTrigger, taken: set[str]) -> str:
    """Return a unique operation id: the action's name, followed by the method or a number if the name is taken."""
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
    """Return the security requirements of a guarded action; an empty list if anyone may call it."""
    if not plan.guarded:
        return []
    return [params.Security(scheme, scopes=list(required_scopes(plan.action.access_control)))]


def default_scheme() -> Any:
    """Return the security scheme of an app that has no login of its own."""
    return HTTPBearer(bearerFormat="JWT", scheme_name="Bearer", auto_error=False)


class OnDemand:
    """A route attribute that only the OpenAPI document needs: computed on first access, whatever FastAPI assigns to it."""

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
        """Ignore FastAPI's value: FastAPI does not see an action's parameters."""


def body_of_route(route: Any) -> Any:
    """Return the body field of an action's route, or None if it has no body."""
    action = route.served.action
    return body_of(action, route.places.body, route.served.runtime.plan(action).injection)


def response_of_route(route: Any) -> Any:
    """Return the field of a result in FastAPI's document, or None if it shows none."""
    if not route.response_model:
        return None
    return create_model_field(name=f"Response_{route.unique_id}", type_=route.response_model, mode="serialization")


def extra_of_route(route: Any) -> dict[str, Any] | None:
    """Return the parts of the operation that FastAPI does not generate itself."""
    action = route.served.action
    plan = route.served.runtime.plan(action)
    parameters = parameters_of(action, route.places, route.dependant)
    extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if plan.reads_token and not plan.guarded:
        # Anyone may call; a token is optional and changes the result.
        extra["security"] = [{}, {route.served.scheme.scheme_name: []}]
    return extra or None


def with_error_shape(answers: dict[int | str, dict[str, Any]], runtime: Process) -> dict[int | str, dict[str, Any]]:
    """Return the responses with the body that this app's errors have.

    Nothing is known about what an `errors` function returns, so those bodies have no schema.
    """
    problem = (
        {"content": {PROBLEM_JSON: {"schema": ProblemBody.model_json_schema()}}} if runtime.settings.problems else {}
    )
    if not problem and runtime.errors is None:
        return answers
    return {
        code: {**problem, "description": each["description"]} if each.get("model") in ERROR_MODELS else each
        for code, each in answers.items()
    }


def responses_of(plan: Plan, trigger: WebTrigger, ok_status: int, *, has_body: bool) -> dict[int | str, dict[str, Any]]:
    """Return the documented responses of a route by status code; ``ok_status`` is that of a success."""
    answers: dict[int | str, dict[str, Any]] = {
        "default": {"model": ErrorBody, "description": "Any other error"},
        422: {"model": InvalidParamsBody, "description": "Invalid parameters"},
        504: {"model": ErrorBody, "description": f"Not finished within {plan.action.timeout:g} s"},
    }
    if plan.guarded:
        answers[401] = {"model": ErrorBody, "description": "No valid token"}
        answers[403] = {"model": ErrorBody, "description": f"Not allowed: {access_text(plan)}"}
    if has_body:
        answers[413] = {"model": ErrorBody, "description": "The body is too large"}
        answers[415] = {"model": ErrorBody, "description": "The body has an unsupported media type"}
    ok: dict[str, Any] = {}
    examples = result_examples(plan.action)
    if examples and is_body_allowed_for_status_code(ok_status):
        ok = {"content": {"application/json": {"examples": examples}}}
    if plan.action.signature.streams:
        # OpenAPI 3.1 has no keyword for the schema of one item, so it is the schema, and also an extension.
        item = _result_schema(plan.action)
        shown = {"schema": item, "x-item-schema": item}
        ok = {"description": "A stream of items", "content": {"text/event-stream": shown, "application/jsonl": shown}}
    if plan.action.result is None:
        ok = {"description": "The response that the action builds", "content": {"*/*": {}}}
    control = plan.action.cache_control
    if control is not None and ok_status == 200 and not plan.action.signature.streams:
        reads = trigger.method in ("GET", "HEAD")
        ok = {**ok, "headers": described_headers(control, reads=reads)}
        if reads:
            answers[304] = {"description": "The client's copy is current", "headers": ok["headers"]}
            answers[412] = {"model": ErrorBody, "description": "The client's copy is outdated"}
    if plan.action.cursor is not None and not has_body:
        ok = {**ok, "headers": {**ok.get("headers", {}), "Link": LINK}}
    if ok:
        answers[ok_status] = ok
    for status, own in declared_responses(plan.action).items():
        answers[status] = {**answers.get(status, {}), **own}
    return answers


def declared_responses(action: Action) -> dict[int | str, dict[str, Any]]:
    """Return the responses that an action declares, as FastAPI takes them. Errors: ConfigError for an invalid one."""
    declared: dict[int | str, dict[str, Any]] = {}
    for given, answer in action.responses.items():
        status = int(given) if isinstance(given, str) and given.isdecimal() else given
        if not (status in _STATUS_RANGES or (type(status) is int and 100 <= status <= 599)):
            raise action.problem(f"responses has the key {given!r}; use a status code, e.g. responses={{404: Problem}}")
        described = dict(answer) if isinstance(answer, Mapping) else {"model": answer}
        model = described.get("model")
        if model is not None and type(status) is int and not is_body_allowed_for_status_code(status):
            raise action.problem(f"responses has a model for {status}, which has no body; write {{{status}: {{}}}}")
        try:
            if model is not None:
                json_schema_of(TypeAdapter(model), "serialization")
        except PydanticUserError as error:
            raise action.problem(
                f"responses[{given!r}] is no type that pydantic can document: {first_line(error)}"
            ) from error
        declared[status] = described
    return declared


_STATUS_RANGES = ("default", "1XX", "2XX", "3XX", "4XX", "5XX")


@cache
def error_field(model: type[BaseModel]) -> compat.ModelField:
    """Return FastAPI's field for an error model, shared by all routes."""
    return create_model_field(name=model.__name__, type_=model, mode="serialization")


def access_text(plan: Plan) -> str:
    """Return a text that says who may call an action."""
    if plan.needs_token and plan.action.access_control is ALLOW_ALL:
        return "any valid token"
    return rule_text(plan.action.access_control)


def check_result(action: Action) -> None:
    """Check that a result type has a JSON schema. Errors: ConfigError."""
    if action.result is None or surely_has_schema(action.result.core_schema):
        return
    try:
        json_schema_of(action.result, "serialization")
    except PydanticUserError as error:
        raise action.problem(f"the result type cannot be serialized to JSON: {first_line(error)}") from error


def _result_schema(action: Action) -> dict[str, Any]:
    if action.result is None:
        return {}
    schema = json_schema_of(action.result, "serialization")
    return Shape(schema, schema.get("$defs", {})).described()


def result_model(action: Action) -> Any:
    """Return the type that represents the result in the document."""
    type_ = action.result_type
    try:
        hash(type_)
    except TypeError:
        # FastAPI stores types in sets, and some annotations contain unhashable metadata.
        def core(cls: type, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
            return handler.generate_schema(type_)

        return type("Result", (), {"__get_pydantic_core_schema__": classmethod(core)})
    return type_


def result_examples(action: Action) -> dict[str, Any]:
    """Return the results of the examples that the document includes."""
    return {
        example.name: {"summary": example.description or example.name, "value": _plain(example.result)}
        for example in action.examples
        if example.include_in_schema and example.error is None
    }


def parameters_of(action: Action, places: Places, dependant: compat.Dependant) -> list[dict[str, Any]]:
    """Return the path and query parameters of a route, with the action's examples.

    Parameters that dependencies declare too are left out; FastAPI describes them.

    Shape: OpenAPI 3.1 Parameter Objects.
    """
    described = []
    shapes = shapes_of(action)
    names = {_shown_name(param, places): param for param in action.signature.client if _is_shown(param)}
    shown_already = Injection(dependant).in_address
    given = {name: shapes[name] for name in names if name in places.path | places.query and name not in shown_already}
    flat = places.flat if places.flat in given else None
    shown = leaves(given)
    if flat is not None:
        required = given[flat].required()
        shown = [
            (key, shape, wanted and key.partition(".")[0] in required)
            for key, shape, wanted in leaves(given[flat].fields)
        ]
    for key, shape, wanted in shown:
        top = flat or (key.partition(".")[0] if key not in given else key)
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
        examples = _marked_examples(names[top]) if key in given else {}
        examples |= _parameter_examples(action, key if flat is None else f"{flat}.{key}")
        if examples:
            parameter["examples"] = examples
        described.append(parameter)
    return described


def _marked_examples(param: Param) -> dict[str, Any]:
    """Return the ``openapi_examples`` of a parameter."""
    marks = (param.info, *getattr(param.annotation, "__metadata__", ()))
    return next((dict(found) for mark in marks if (found := getattr(mark, "openapi_examples", None))), {})


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
    """Return the field that describes a route's body, or None if it has no body."""
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
    params = [param for param in action.signature.client if param.alias in names]
    shown: dict[str, Any] = {}
    if len(params) == 1:
        alias = params[0].alias
        for name, example in _marked_examples(params[0]).items():
            shown[name] = {**example, "value": {alias: example["value"]}} if "value" in example else example
    for example in action.examples:
        if example.include_in_schema and example.error is None:
            value = {name: value for name, value in _plain(example.params).items() if name in names}
            shown[example.name] = {"summary": example.description or example.name, "value": value}
    return shown


def _plain(value: Any) -> Any:
    return to_jsonable_python(dict(value) if isinstance(value, Mapping) else value, fallback=str)


def valid_in_3_1(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's document as valid OpenAPI 3.1: the schema of a stream's item is ``schema`` and an extension.

    Schemas of the same title get their names as titles, because code generators name types after titles.
    """
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                for content in response.get("content", {}).values():
                    if "itemSchema" in content:
                        content["x-item-schema"] = content["schema"] = content.pop("itemSchema")
    schemas = document.get("components", {}).get("schemas", {})
    titles = Counter(schema.get("title") for schema in schemas.values())
    for name, schema in schemas.items():
        if titles[schema.get("title")] > 1:
            schema["title"] = name
    return document
