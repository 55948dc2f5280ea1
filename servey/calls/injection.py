"""What FastAPI and the call itself inject into an action and its dependencies, read once from their signatures."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastapi.params import Depends, Form, Query
from pydantic import BaseModel, PydanticUserError

from servey.calls.graph import Graph, compile_graph
from servey.compat import fastapi as compat
from servey.compat.annotations import expand, metadata_of
from servey.compat.fastapi_solver import schemes_of
from servey.compat.pydantic import instance_checks
from servey.core.access import Authorization
from servey.core.actions import Action, filled_inside
from servey.core.context import Context, current_context
from servey.core.errors import ConfigError, ServeyError, Unauthenticated
from servey.core.params import (
    Param,
    SignatureProblem,
    Wanted,
    hides_depends,
    is_fastapis_mark,
    wanted_class,
    wanted_of,
)


@dataclass(frozen=True)
class Provider:
    """The dependency that gives a parameter of another dependency its `Authorization` or `Context`."""

    wanted: Wanted

    async def __call__(self) -> Any:
        context = current_context()
        if self.wanted.kind == "authorization":
            await context.authorize()
        return filled_in(self.wanted, context)


def filled_in(wanted: Wanted, context: Context) -> Any:
    """Return the verified authorization or the context of a call for a parameter.

    Errors: Unauthenticated if a token is required or the token is invalid; ServeyError for another class than the parameter
    declares.
    """
    value = context if wanted.kind == "context" else context.authorization
    if value is None:
        if wanted.required:
            raise Unauthenticated("This action requires an authorization; send a token")
    elif not isinstance(value, wanted.classes):
        expected = " or ".join(cls.__name__ for cls in wanted.classes)
        raise ServeyError(
            f"a parameter is annotated {expected}, and the app's authorizer returned {type(value).__name__}"
        )
    return value


def _provider_of(call: Any) -> Provider | None:
    wanted = wanted_class(call)
    return None if wanted is None else Provider(wanted)


def _filler(seen: compat.Seen) -> Provider | inspect.Parameter | None:
    if hides_depends(seen.annotation):
        raise _problem_of(seen, "has Depends inside a type; use Annotated[the whole type, Depends(...)]")
    wanted = wanted_of(seen.annotation, seen.default)
    if wanted is not None:
        return Provider(wanted)
    expanded = expand(seen.annotation)
    visible = metadata_of(seen.annotation)
    if any(is_fastapis_mark(mark) and all(mark is not each for each in visible) for mark in metadata_of(expanded)):
        # FastAPI resolves one alias only, and would read the parameter from the client's input.
        return inspect.Parameter(seen.name, inspect.Parameter.KEYWORD_ONLY, default=seen.default, annotation=expanded)
    return None


def _problem_of(seen: compat.Seen, what: str) -> SignatureProblem:
    name = getattr(seen.call, "__qualname__", None) or type(seen.call).__qualname__
    return SignatureProblem(f"dependency '{name}': parameter '{seen.name}' {what}")


def fill_route(dependant: compat.Dependant, done: Sequence[compat.Dependant] = ()) -> None:
    """The same for a route of an app or its host. Errors: ConfigError."""
    try:
        fill(dependant, done)
    except SignatureProblem as problem:
        raise ConfigError(problem.message) from problem


def fill(dependant: compat.Dependant, done: Sequence[compat.Dependant] = ()) -> None:
    """Give every `Authorization` and `Context` in a tree of dependencies a provider, in place, except for those in ``done``.

    Errors: SignatureProblem for one that a client could give a value.
    """
    compat.fill(dependant, _filler, _provider_of, done)
    for name, schema in compat.schemas_of(dependant, done):
        for cls in instance_checks(schema):
            if issubclass(cls, (Authorization, Context)):
                raise SignatureProblem(f"the parameter '{name}' of a dependency {filled_inside(cls.__name__)}")


@dataclass(frozen=True, eq=False)
class Injection:
    """What FastAPI injects into an action, read once from its signature.

    Shape: ``own_guards`` is how many of the dependencies without a parameter belong to the action; they are the last ones.
    The others belong to the surrounding app or router.
    """

    dependant: compat.Dependant
    own_guards: int = 0

    @property
    def function(self) -> Callable[..., Any]:
        """The function with the parameters that FastAPI injects."""
        assert self.dependant.call is not None
        return self.dependant.call

    @cached_property
    def _tree(self) -> tuple[compat.Dependant, ...]:
        return tuple(compat.tree(self.dependant))

    @cached_property
    def wanted(self) -> tuple[Wanted, ...]:
        """What its dependencies, at any depth, receive from the call itself."""
        return tuple(each.call.wanted for each in self._tree if isinstance(each.call, Provider))

    @cached_property
    def schemes(self) -> tuple[str, ...]:
        """The security schemes of its dependencies as texts, with the scopes that they ask for."""
        schemes = schemes_of(self.dependant)
        return tuple(f"{name} ({' '.join(scopes)})" if scopes else name for name, scopes in schemes.items())

    @cached_property
    def requests_needed(self) -> str | None:
        """A required input that only an HTTP request has, as text, or None if there is none."""
        return compat.requests_needed(self.dependant)

    @cached_property
    def needed_in_job(self) -> str | None:
        """A required input that not even a job made from an HTTP request has, as text, or None if there is none."""
        return compat.requests_needed(self.dependant, in_job=True)

    @cached_property
    def required_place(self) -> str | None:
        """A required path parameter or body part, as text, or None if there is none."""
        return compat.required_place(self.dependant)

    @cached_property
    def in_body(self) -> tuple[Param, ...]:
        """The parameters that come from the request body, by wire name; a form model counts as its fields."""
        found: dict[str, Param] = {}
        for each in self._tree:
            for field in each.body_params:
                for param in _parts(field):
                    found.setdefault(param.alias, param)
        return tuple(found.values())

    @cached_property
    def takes_form(self) -> bool:
        """Whether the body has to be a form."""
        return any(isinstance(field.field_info, Form) for each in self._tree for field in each.body_params)

    @cached_property
    def in_address(self) -> frozenset[str]:
        """The names of the parameters that come from the path and the query string."""
        return frozenset(
            param.alias
            for each in self._tree
            for field in (*each.path_params, *each.query_params)
            for param in _parts(field)
        )

    @cached_property
    def from_request(self) -> tuple[str, ...]:
        """The names of the action's own injected parameters that depend on the request."""
        own = self.dependant
        fields = (*own.header_params, *own.cookie_params, *own.query_params, *own.path_params, *own.body_params)
        made = [each.name for each in own.dependencies if any(map(_differs, compat.tree(each)))]
        return (*(field.name for field in fields), *(name for name in made if name is not None))

    def vary_of(self, app: Any) -> tuple[str, ...] | None:
        """Return the request headers that the result depends on, with the app's ``dependency_overrides`` applied, or None if
        they are unknown because something is given the whole request.
        """
        if getattr(app, "dependency_overrides", None):
            return _vary_of(compat.overridden(self.dependant, app))
        return self._vary

    @cached_property
    def _vary(self) -> tuple[str, ...] | None:
        return _vary_of(self.dependant)

    @cached_property
    def dependencies(self) -> tuple[str, ...]:
        """The names of the action's own parameters that are dependencies."""
        return tuple(each.name for each in self.dependant.dependencies if each.name is not None)

    def reads_request(self, name: str, overrides: Mapping[Any, Any]) -> bool:
        """Whether a dependency of the action reads the request, with an app's ``dependency_overrides`` applied."""
        return any(
            each.name == name and compat.reads_request_overridden(each, overrides)
            for each in self.dependant.dependencies
        )

    @cached_property
    def takes_http(self) -> str | None:
        """``request`` or ``response`` if the action takes that object itself, or None."""
        own = self.dependant
        if own.request_param_name or own.http_connection_param_name or own.websocket_param_name:
            return "request"
        return "response" if own.response_param_name else None

    @cached_property
    def guards(self) -> Injection | None:
        """The dependencies that the surrounding app or router adds to a route, or None if there are none."""
        unnamed = [each for each in self.dependant.dependencies if each.name is None]
        unnamed = unnamed[: len(unnamed) - self.own_guards]
        return Injection(compat.Dependant(dependencies=unnamed, path=self.dependant.path)) if unnamed else None

    @cached_property
    def without_request(self) -> compat.Dependant:
        return compat.without_request(self.dependant)

    @cached_property
    def http_graph(self) -> Graph:
        """The compiled dependencies of a call that comes with an HTTP request."""
        return compile_graph(self.dependant)

    @cached_property
    def bare_graph(self) -> Graph:
        """The compiled dependencies of a call without an HTTP request."""
        return compile_graph(self.without_request)

    def graph(self, overrides: Mapping[Any, Any] | None, *, in_http: bool) -> Graph:
        """Return the compiled dependencies under an app's ``dependency_overrides``, which are read on each call."""
        if not overrides:
            return self.http_graph if in_http else self.bare_graph
        known = self._overridden.get(in_http)
        if known is None or known[0] != overrides:
            dependant = self.dependant if in_http else self.without_request
            known = self._overridden[in_http] = dict(overrides), compile_graph(dependant, overrides, fill)
        return known[1]

    @cached_property
    def _overridden(self) -> dict[bool, tuple[dict[Any, Any], Graph]]:
        return {}


def _differs(dependant: compat.Dependant) -> bool:
    return compat.reads_request(dependant) or isinstance(dependant.call, Provider)


def _parts(field: compat.ModelField) -> list[Param]:
    info = field.field_info
    model = info.annotation
    fields = {field.name: info}
    if isinstance(info, Form | Query) and isinstance(model, type) and issubclass(model, BaseModel):
        fields = model.model_fields
    return [
        Param(name, each.alias or name, each, each.annotation, inspect.Parameter.empty, "fastapi")
        for name, each in fields.items()
    ]


def injection_of(action: Action) -> Injection | None:
    """Return what FastAPI injects into an action, or None if it injects nothing.

    Errors: ConfigError if FastAPI does not accept one of its parameters.
    """
    if not action.dependencies and not any(param.filled_by == "fastapi" for param in action.signature.params):
        return None
    return _injection(action, injected_part(action), action.dependencies)


def _injection(action: Action, call: Callable[..., Any], guards: Sequence[Any]) -> Injection:
    try:
        dependant = compat.dependant_of_injected(call, guards)
        fill(dependant)
        return Injection(dependant, len(guards))
    except Exception as error:
        text = str(error).partition("\n")[0]
        if isinstance(error, PydanticUserError) and error.code == "class-not-fully-defined":
            text = "the annotation of one of their parameters cannot be resolved"
        raise action.problem(f"FastAPI cannot inject its dependencies: {text}") from error


def injection_of_batch(action: Action, params: Sequence[Param]) -> Injection:
    """Return what FastAPI injects into these parameters of an action's batch function, after the dependencies of the action.

    Errors: ConfigError if FastAPI does not accept one of them.
    """

    async def of_action(**values: Any) -> None: ...

    async def of_batch(**values: Any) -> None: ...

    of_action.__signature__ = inspect.signature(injected_part(action))  # type: ignore[attr-defined]
    of_batch.__signature__ = inspect.Signature([_parameter(param) for param in params])  # type: ignore[attr-defined]
    return _injection(action, of_batch, [*action.dependencies, Depends(of_action)])


def injection_of_route(
    dependant: compat.Dependant, scheme: Any, action: Action, known: Injection | None
) -> Injection | None:
    """Return what FastAPI injects for a route of an action: its dependencies and the host's own around it.

    Shape: ``known`` is what it injects into the action, and may share dependencies with the route.

    Errors: ConfigError for a dependency of the host that a client could give an `Authorization` or a `Context`.
    """
    fill_route(dependant, known.dependant.dependencies if known is not None else ())
    wanted = dataclasses.replace(
        dependant, dependencies=[each for each in dependant.dependencies if each.call is not scheme]
    )
    fields = ("header_params", "cookie_params", "body_params", "dependencies")
    names = (
        "request_param_name",
        "http_connection_param_name",
        "response_param_name",
        "background_tasks_param_name",
        "security_scopes_param_name",
    )
    needed = any(getattr(wanted, name) for name in fields) or any(getattr(wanted, name) is not None for name in names)
    return Injection(wanted, len(action.dependencies)) if needed else None


def injected_part(action: Action) -> Callable[..., Any]:
    """Return a callable that has only the parameters of an action that FastAPI injects."""

    def injected(**values: Any) -> None:
        raise AssertionError("only its signature is used")

    injected.__name__ = action.fn.__name__
    injected.__doc__ = action.description
    injected.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter(param) for param in action.signature.params if param.filled_by == "fastapi"]
    )
    return injected


def _parameter(param: Param) -> inspect.Parameter:
    return inspect.Parameter(
        param.name, inspect.Parameter.KEYWORD_ONLY, default=param.default, annotation=param.annotation
    )


def _vary_of(dependant: compat.Dependant) -> tuple[str, ...] | None:
    return None if compat.takes_whole_request(dependant) else compat.headers_read(dependant)
