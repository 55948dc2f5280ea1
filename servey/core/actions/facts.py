"""An action: a function with the configuration that says how it is exposed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

from servey.compat.annotations import expand, union_members
from servey.compat.json_schema import json_schema_of, structure_of
from servey.compat.pydantic import instance_checks, splits, stops_at_first_item
from servey.core.access import ALLOW_ALL, AccessControl, Authorization
from servey.core.actions.examples import BatchInvoker, Example
from servey.core.actions.naming import camel_case, relative_path
from servey.core.actions.paging import Cursor, item_type_of
from servey.core.cache import CacheControl
from servey.core.context import Context
from servey.core.errors import ConfigError
from servey.core.params import (
    Param,
    Signature,
    SignatureProblem,
    params_type,
    result_adapter,
    result_type,
    signature_of,
)
from servey.core.queues import DEFAULT_QUEUE, PER_CALLER, Limit, Retry

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Action:
    """A function and its configuration. Everything derived from the signature is computed on first use, since types may be
    defined below the function; the catalog computes all of it at start.

    Shape: ``prefix`` and ``dependencies`` are those of its `Group`; ``hidden`` lists what it is not offered on.
    Units: ``timeout`` in seconds; ``max_body_bytes`` in bytes, or None for the app's limit.
    """

    fn: Callable[..., Any]
    name: str
    description: str | None = None
    triggers: tuple[Any, ...] = ()
    access_control: AccessControl = ALLOW_ALL
    cache_control: CacheControl | None = None
    timeout: float = 15
    examples: tuple[Example, ...] = ()
    batch_invoker: BatchInvoker | None = None
    retry: Retry | None = None
    blocking: bool = True
    max_body_bytes: int | None = None
    tags: tuple[str, ...] = ()
    deprecated: bool = False
    responses: Mapping[int | str, Any] = field(default_factory=dict)
    status_code: int | None = None
    hidden: tuple[str, ...] = ()
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    limit: Limit | None = None
    cancel_on_disconnect: bool = False
    prefix: str = ""
    dependencies: tuple[Any, ...] = ()
    given_name: bool = False
    class_name: str | None = None

    @cached_property
    def owner(self) -> type | None:
        """The class of a method, or None for a function; looked up by name once the class exists."""
        if self.class_name is None:
            return None
        found: Any = sys.modules.get(self.fn.__module__)
        for part in self.fn.__qualname__.split(".")[:-1]:
            found = getattr(found, part, None)
        return found if isinstance(found, type) else None

    def bind(self, owner: type) -> None:
        """Set the class of a method that cannot be found by name, such as a class inside a function."""
        self.__dict__.setdefault("owner", owner)

    @cached_property
    def signature(self) -> Signature:
        """The function's parameters and result type, with annotations resolved.

        Errors: ConfigError that names the place, the action and the parameter.
        """
        if self.class_name is not None and self.owner is None:
            raise self.problem(
                f"is a method of {self.class_name}, which its module does not define; move the class to the module's level"
            )
        try:
            return signature_of(self.fn, self.owner)
        except SignatureProblem as problem:
            raise self.problem(problem.message, problem.parameter) from problem

    @cached_property
    def params_type(self) -> Any:
        """The type of one object that holds all client parameters; documents show its schema."""
        return params_type(f"{camel_case(self.name)}Input", self.signature.client)

    @cached_property
    def params(self) -> TypeAdapter[dict[str, Any]]:
        """Validates a client's input by wire name into Python values by parameter name."""
        made = self._adapted(lambda: _complete(TypeAdapter(self.params_type)), "parameters")
        if any(issubclass(cls, (Authorization, Context)) for cls in instance_checks(made.core_schema)):
            raise self._filled_inside()
        return made

    @cached_property
    def params_of_many(self) -> SchemaValidator:
        """Validates as `params` does, but a list, set or dict reports its first invalid item only.

        It is for large inputs: pydantic makes an error for each missing field of each item, and cannot be told to stop.
        """
        return stops_at_first_item(self.params.core_schema)

    @cached_property
    def params_schema(self) -> dict[str, Any]:
        """The JSON schema of the parameters, for documents."""
        return json_schema_of(self.params, "validation")

    @cached_property
    def params_structure(self) -> dict[str, Any]:
        """The JSON schema of what the parameters validate, from which query strings and forms are read."""
        return structure_of(self.params)

    @cached_property
    def result(self) -> TypeAdapter[Any] | None:
        """Validates and serializes a result or one item of a stream; None if the function returns ``Response``."""
        made = self._adapted(lambda: result_adapter(self.signature.returns), "result")
        return None if made is None else self._adapted(lambda: _complete(made), "result")

    @cached_property
    def splits_result(self) -> bool:
        """Whether a result is a list that can be validated and serialized in slices."""
        return self.result is not None and splits(self.result.core_schema)

    @property
    def result_type(self) -> Any:
        """The type that a result is validated and serialized as."""
        return result_type(self.signature.returns)

    @cached_property
    def cursor(self) -> Param | None:
        """The parameter that takes the cursor of a page, or None if the action returns no `Page`.

        Errors: ConfigError if the parameter is missing, or the action cannot have pages.
        """
        found = [each for each in self.signature.client if Cursor in union_members(expand(each.info.annotation))]
        returns_page = any(item_type_of(expand(each)) is not None for each in union_members(self.result_type))
        if not returns_page:
            if found:
                raise self.problem(
                    "takes a Cursor, and the action returns no Page; return e.g. Page[str]", found[0].name
                )
            return None
        if len(found) != 1:
            raise self.problem("returns a Page; give it one parameter for the cursor, e.g. after: Cursor | None = None")
        if self.signature.streams or self.batch_invoker is not None:
            raise self.problem("returns a Page, which neither a stream nor a batch_invoker can; return a list")
        return found[0]

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function or an async generator."""
        return inspect.iscoroutinefunction(self.fn) or self.signature.streams

    @property
    def summary(self) -> str:
        """The first line of the description, or the name as words."""
        first = (self.description or "").strip().partition("\n")[0].strip()
        return first or self.name.replace("_", " ").replace(".", " ").capitalize()

    @cached_property
    def place(self) -> str:
        """Where the function is defined, e.g. ``shop/actions.py:41``."""
        code = inspect.unwrap(self.fn).__code__
        return f"{relative_path(code.co_filename)}:{code.co_firstlineno}"

    def check_limit(self) -> None:
        """Check that the limit of the action's jobs names one of its parameters. Errors: ConfigError."""
        if self.limit is None or self.limit.per is None:
            return
        names = [param.name for param in self.signature.client]
        if self.limit.per == PER_CALLER:
            if PER_CALLER in names:
                raise self.problem("has this name, so per='caller' in its limit is ambiguous; rename it", PER_CALLER)
        elif self.limit.per not in names:
            known = ", ".join(f"'{name}'" for name in [*names, PER_CALLER])
            raise self.problem(f"its limit has per='{self.limit.per}', which is no parameter; use one of {known}")

    def problem(self, what: str, parameter: str | None = None) -> ConfigError:
        """Return a ConfigError about this action or one of its parameters."""
        about = f": parameter '{parameter}'" if parameter else ":"
        return ConfigError(f"action '{self.name}' ({self.place}){about} {what}")

    def _adapted(self, build: Callable[[], T], what: str) -> T:
        try:
            return build()
        except ConfigError:
            raise
        except Exception as error:
            culprit = self._unfit_param() if what == "parameters" else None
            text = str(error).partition("\n")[0]
            if culprit is not None:
                raise self.problem(f"has a type that pydantic cannot validate: {text}", culprit.name) from error
            raise self.problem(f"the {what} cannot be validated by pydantic: {text}") from error

    def _filled_inside(self) -> ConfigError:
        """Return the problem of a parameter that contains an `Authorization` or a `Context`."""
        for param in self.signature.client:
            checks = instance_checks(TypeAdapter(params_type("Probe", (param,))).core_schema)
            inside = [cls.__name__ for cls in checks if issubclass(cls, (Authorization, Context))]
            if inside:
                return self.problem(filled_inside(inside[0]), param.name)
        raise AssertionError("no parameter contains it")

    def _unfit_param(self) -> Param | None:
        for param in self.signature.client:
            try:
                _complete(TypeAdapter(params_type("Probe", (param,))))
            except Exception:
                return param
        return None


def _complete(adapter: TypeAdapter[T]) -> TypeAdapter[T]:
    """Return an adapter whose types are all defined; pydantic waits for missing ones until the first value.

    Errors: PydanticUndefinedAnnotation names the missing one.
    """
    if not adapter.pydantic_complete:
        adapter.rebuild(raise_errors=True)
    return adapter


def filled_inside(name: str) -> str:
    """Return what is wrong with a type that contains an `Authorization` or a `Context`."""
    return f"contains {name}, which never comes from a client; take it as a parameter of its own"


def get_action(fn: Any) -> Action | None:
    """Return the action of a function, or None if it is not an action."""
    return found if isinstance(found := getattr(fn, "servey_action", None), Action) else None
