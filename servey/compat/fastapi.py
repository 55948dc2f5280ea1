"""FastAPI's dependency resolution, called outside FastAPI's own routes.

Source: fastapi/dependencies/utils.py and fastapi/routing.py, 0.163 to 0.165.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from keyword import iskeyword
from types import FunctionType
from typing import Annotated, Any, ForwardRef, TypeVar, get_args, get_origin

import fastapi
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, get_parameterless_sub_dependant, get_typed_signature
from fastapi.params import Depends
from fastapi.security.base import SecurityBase
from pydantic import BaseModel
from typing_inspection.typing_objects import is_typealiastype

from servey.compat.annotations import written_annotations

T = TypeVar("T")

__all__ = ["Dependant", "ModelField", "dependant_of", "requests_needed", "without_request"]

_NEEDED: dict[Callable[..., Any], set[str]] = {
    get_dependant: {"path", "call"},
    get_typed_signature: {"call"},
    get_parameterless_sub_dependant: {"depends", "path"},
}
for _function, _parameters in _NEEDED.items():
    if not _parameters <= set(inspect.signature(_function).parameters):
        raise ImportError(
            f"fastapi {fastapi.__version__} changed {_function.__name__}(); "
            "install a version of fastapi that this version of servey supports"
        )


def dependant_of(call: Callable[..., Any]) -> Dependant:
    """Return what FastAPI reads from a callable's signature."""
    return get_dependant(path="/", call=call)


def dependant_of_injected(call: Callable[..., Any], guards: Sequence[Any] = ()) -> Dependant:
    """Return the same for a callable with a ``__signature__``, with ``guards``, which are ``Depends`` that run before it."""
    parameters = inspect.signature(call).parameters.values()
    known = {each.name: found for each in parameters if (found := _without_inputs(each)) is not None}
    if known:
        made = get_dependant(path="/", call=_with_signature([each for each in parameters if each.name not in known]))
        made.call = call
        known |= {str(each.name): each for each in made.dependencies}
        made.dependencies = [known[each.name] for each in parameters if each.name in known]
    else:
        made = get_dependant(path="/", call=call)
    made.dependencies[:0] = [get_parameterless_sub_dependant(depends=each, path="/") for each in guards]
    return made


def _without_inputs(parameter: inspect.Parameter) -> Dependant | None:
    """Return the dependency that gives a parameter its value, if it is a function without parameters, or None.

    FastAPI would read its signature twice and find nothing.
    """
    depends = parameter.default
    if get_origin(parameter.annotation) is Annotated:
        metadata = get_args(parameter.annotation)[1:]
        if len(metadata) != 1 or depends is not inspect.Parameter.empty:
            return None
        depends = metadata[0]
    if type(depends) is not Depends or not _takes_nothing(depends.dependency):
        return None
    return Dependant(
        call=depends.dependency,
        name=parameter.name,
        path="/",
        use_cache=depends.use_cache,
        scope=depends.scope,
        concurrency=depends._concurrency,
        own_oauth_scopes=[],
        parent_oauth_scopes=[],
    )


def _takes_nothing(call: Any) -> bool:
    """Whether a callable is a function without parameters and without annotations that may be wrong."""
    if type(call) is not FunctionType or vars(call):
        return False  # `__wrapped__` and `__signature__` are attributes
    code = call.__code__
    if code.co_argcount or code.co_kwonlyargcount or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return False
    return all(
        each.isidentifier() and not iskeyword(each) if isinstance(each, str) else not isinstance(each, ForwardRef)
        for each in written_annotations(call).values()
    )


_FIELDS = ("path_params", "query_params", "header_params", "cookie_params", "body_params")


@dataclasses.dataclass(frozen=True)
class Seen:
    """A parameter of a dependency, as FastAPI sees it.

    Shape: ``annotation`` is what FastAPI reads: its alias is resolved once, and not further.
    """

    call: Any
    name: str
    annotation: Any
    default: Any


Filler = Callable[[Seen], Callable[..., Any] | inspect.Parameter | None]
"""Decides about one parameter: a callable that provides its value, another form of it for FastAPI to read, or None."""


def fill(
    dependant: Dependant,
    filler: Filler,
    provider_of: Callable[[Any], Callable[..., Any] | None],
    done: Sequence[Dependant] = (),
) -> None:
    """Change a dependant and its dependencies in place, so that some parameters get their values from providers.

    ``provider_of`` returns the provider that replaces a whole dependency, or None; ``done`` are dependencies that were
    changed before.
    """
    known = set(map(id, done))
    dependencies = []
    for sub in dependant.dependencies:
        if id(sub) in known or _takes_nothing(sub.call):
            dependencies.append(sub)
        elif (provider := provider_of(sub.call)) is not None:
            dependencies.append(_provided(provider, sub.name, sub.path))
        else:
            fill(sub, filler, provider_of)
            dependencies.append(sub)
    dependant.dependencies = dependencies
    injected = {sub.name for sub in dependant.dependencies}
    declared = getattr(dependant.call, "__signature__", None)
    if isinstance(declared, inspect.Signature) and declared.parameters.keys() <= injected:
        return
    for name, parameter in _parameters_of(dependant.call).items():
        if name in injected:
            continue
        decided = filler(Seen(dependant.call, name, parameter.annotation, parameter.default))
        if decided is None:
            continue
        for kind in _FIELDS:
            setattr(dependant, kind, [field for field in getattr(dependant, kind) if field.name != name])
        if not isinstance(decided, inspect.Parameter):
            dependant.dependencies.insert(0, _provided(decided, name, dependant.path))
            continue
        read = get_dependant(path=dependant.path or "/", call=_with_signature([decided]))
        fill(read, filler, provider_of)
        dependant.dependencies += read.dependencies
        for kind in _FIELDS:
            setattr(dependant, kind, [*getattr(dependant, kind), *getattr(read, kind)])


def _provided(provider: Callable[..., Any], name: str | None, path: str | None) -> Dependant:
    return Dependant(call=provider, name=name, path=path)


def _with_signature(parameters: Sequence[inspect.Parameter]) -> Callable[..., Any]:
    """Return a callable with these parameters, for FastAPI to read."""

    def read(**values: Any) -> None:
        raise AssertionError("only its signature is used")

    read.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return read


def _parameters_of(call: Any) -> dict[str, inspect.Parameter]:
    if _takes_nothing(call):
        return {}
    try:
        found = get_typed_signature(call).parameters.values() if call is not None else ()
    except ValueError:
        return {}  # a built-in without a signature
    # As FastAPI does: an alias is resolved once.
    return {
        each.name: each.replace(annotation=getattr(each.annotation, "__value__", each.annotation))
        if is_typealiastype(each.annotation)
        else each
        for each in found
    }


def schemas_of(dependant: Dependant, done: Sequence[Dependant] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the name and the core schema of every parameter that a client gives, except for those of ``done``."""
    known = set(map(id, done))
    for kind in _FIELDS:
        for field in getattr(dependant, kind):
            yield field.name, field._type_adapter.core_schema
    for each in dependant.dependencies:
        if id(each) not in known:
            yield from schemas_of(each)


def tree(dependant: Dependant) -> Iterator[Dependant]:
    """Yield a dependant and its dependencies, recursively."""
    yield dependant
    for each in dependant.dependencies:
        yield from tree(each)


def required_place(dependant: Dependant) -> str | None:
    """Return a required path parameter or body part of it as text, or None if there is none."""
    for each in tree(dependant):
        for kind, fields in (("path parameter", each.path_params), ("body parameter", each.body_params)):
            for field in fields:
                if field.field_info.is_required():
                    return f"the {kind} '{field.alias}'"
    return None


def requests_needed(dependant: Dependant, *, in_job: bool = False) -> str | None:
    """Return a required input of it that only an HTTP request has, as text, or None if there is none."""
    for each in tree(dependant):
        kept = (
            ("header", each.header_params),
            ("cookie", each.cookie_params),
            ("query parameter", each.query_params),
            ("path parameter", each.path_params),
        )
        for kind, fields in (*(() if in_job else kept), ("form field", each.body_params)):
            for field in fields:
                if field.field_info.is_required():
                    return f"the {kind} '{field.alias}'"
        for name in (each.request_param_name, each.http_connection_param_name, each.websocket_param_name):
            if name is not None and not _has_default(each.call, name) and not (in_job and _scheme_reads(each.call)):
                return f"the request, as '{name}'"
    return None


def overridden(dependant: Dependant, app: Any) -> Dependant:
    """Return the dependant with the app's ``dependency_overrides`` in place of what they replace."""
    overrides: dict[Any, Any] = getattr(app, "dependency_overrides", None) or {}
    if not overrides:
        return dependant
    parts = [
        dependant_of(overrides[each.call]) if each.call in overrides else overridden(each, app)
        for each in dependant.dependencies
    ]
    return dataclasses.replace(dependant, dependencies=parts)


@dataclasses.dataclass(frozen=True)
class NamesRead:
    """The names of what a callable and its dependencies read from a request; those of headers are in lower case."""

    headers: frozenset[str]
    cookies: frozenset[str]
    query: frozenset[str]
    path: frozenset[str]


def names_read(dependant: Dependant) -> NamesRead:
    """Return the names of what a callable and its dependencies read from a request."""

    def names(kind: str) -> frozenset[str]:
        return frozenset(name for each in tree(dependant) for field in getattr(each, kind) for name in _names(field))

    headers = {name.lower() for name in names("header_params")}
    headers |= {name.replace("_", "-") for name in headers}
    schemes = [read for each in tree(dependant) if (read := _scheme_reads(each.call)) is not None]
    headers |= {name.lower() for place, name in schemes if place == "header"}
    cookies = names("cookie_params") | {name for place, name in schemes if place == "cookie"}
    query = names("query_params") | {name for place, name in schemes if place == "query"}
    return NamesRead(frozenset(headers), cookies, query, names("path_params"))


def _scheme_reads(call: Any) -> tuple[str, str] | None:
    """Return where one of FastAPI's own security schemes reads, ``header``, ``cookie`` or ``query``, and the name there.

    None for anything else, also for a subclass that reads the request by itself.
    """
    if not isinstance(call, SecurityBase):
        return None
    reads: Any = type(call).__call__
    return _place_of(call) if reads.__module__.startswith("fastapi.security.") else None


def _place_of(scheme: Any) -> tuple[str, str]:
    place, name = getattr(scheme.model, "in_", None), getattr(scheme.model, "name", None)
    return ("header", "authorization") if place is None or name is None else (getattr(place, "value", place), name)


def _names(field: ModelField) -> Iterator[str]:
    model = field.field_info.annotation
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, info in model.model_fields.items():
            yield from (str(each) for each in (name, info.alias, info.validation_alias) if isinstance(each, str))
    else:
        yield field.alias


def reads_request(dependant: Dependant) -> bool:
    """Return whether a callable itself, without its dependencies, reads something of the request."""
    fields = ("header_params", "cookie_params", "query_params", "path_params", "body_params")
    names = ("request_param_name", "http_connection_param_name", "websocket_param_name")
    return any(getattr(dependant, each) for each in fields) or any(
        getattr(dependant, each) is not None for each in names
    )


def headers_read(dependant: Dependant) -> tuple[str, ...]:
    """Return the names of the request headers that a callable and its dependencies declare; security schemes count."""
    found: dict[str, None] = {}
    for each in tree(dependant):
        found |= dict.fromkeys(field.alias for field in each.header_params)
        if each.cookie_params:
            found["cookie"] = None
        if isinstance(each.call, SecurityBase):
            place, name = _place_of(each.call)
            if place == "header":
                found[name] = None
            elif place == "cookie":
                found["cookie"] = None
    return tuple(found)


def takes_whole_request(dependant: Dependant) -> bool:
    """Whether a callable or a dependency of it is given the request itself; security schemes declare what they read."""
    return any(
        (each.request_param_name or each.http_connection_param_name) and not isinstance(each.call, SecurityBase)
        for each in tree(dependant)
    )


def reads_request_overridden(dependant: Dependant, overrides: Mapping[Any, Any]) -> bool:
    """Return whether a callable or a dependency of it reads something of the request, with an app's overrides applied."""
    call = overrides.get(dependant.call, dependant.call)
    if call is not dependant.call:
        dependant = get_dependant(path=dependant.path or "", call=call)
    return reads_request(dependant) or any(reads_request_overridden(each, overrides) for each in dependant.dependencies)


def without_request(dependant: Dependant) -> Dependant:
    """Return a copy for calls without an HTTP request: request parameters keep their defaults.

    A security scheme keeps its request: in a job it has what the scheme reads; without a request the action is not offered.
    """
    is_scheme = _scheme_reads(dependant.call) is not None
    return dataclasses.replace(
        dependant,
        request_param_name=dependant.request_param_name if is_scheme else None,
        http_connection_param_name=dependant.http_connection_param_name if is_scheme else None,
        dependencies=[without_request(each) for each in dependant.dependencies],
    )


def _has_default(call: Any, name: str) -> bool:
    return inspect.signature(call).parameters[name].default is not inspect.Parameter.empty


def attached(route: Any, name: str, make: Callable[[], T]) -> T:
    """Return what is stored on a route under a name; create it on first use."""
    found: T = vars(route).get(name) or vars(route).setdefault(name, make())
    return found


def is_bare(app: fastapi.FastAPI) -> bool:
    """Return whether FastAPI adds nothing around an app's routes: no telemetry, no body limit."""
    telemetry = getattr(app, "_native_telemetry", None)
    watches = telemetry is not None and (not hasattr(telemetry, "enabled") or telemetry.enabled())
    return not watches and getattr(app, "max_body_size", None) is None


def has_frontend(router: Any) -> bool:
    """Return whether a router also serves frontend files where no route matches."""
    return bool(getattr(router, "_low_priority_routes", ())) or any(
        hasattr(route, "effective_low_priority_routes") for route in router.routes
    )
