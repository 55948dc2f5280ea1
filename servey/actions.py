"""An action: one function with the facts that say how it is exposed."""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast, overload

from pydantic import TypeAdapter

from servey.access import ALLOW_ALL, AccessControl
from servey.cache import CacheControl
from servey.errors import ConfigError
from servey.params import Param, Signature, SignatureProblem, params_type, result_adapter, result_type, signature_of
from servey.queues import Retry

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """One call of an action and what comes of it: a document's example, and a test.

    ``error`` is the code of the error that the call must end with, where it must fail; otherwise ``result`` is the
    JSON-like value (or the Python object) that it must give.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    description: str | None = None
    include_in_tests: bool = True
    include_in_schema: bool = True
    error: str | None = None


@dataclass(frozen=True)
class BatchInvoker:
    """One call for many parents of a nested action, where a GraphQL query selects it for each of them.

    ``fn(keys)`` gives a list as long as its keys; an item that is an exception fails only its own parent.
    ``arg_extractor(parent)`` gives a parent's key in a list of one; without one the parent is its own key.
    """

    fn: Callable[..., Any]
    max_batch_size: int = 100
    arg_extractor: Callable[[Any], list[Any]] | None = None

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise ConfigError(f"BatchInvoker: max_batch_size is {self.max_batch_size}; give 1 or more")


@dataclass(frozen=True, eq=False)
class Action:
    """A function and everything that was said of it. What is derived from the signature is made on first use, since
    types may be defined below the function; the catalog touches all of it at start.

    Units: ``timeout`` in seconds; ``max_body_bytes`` in bytes, None for the app's own limit.
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
    given_name: bool = False
    class_name: str | None = None

    @cached_property
    def owner(self) -> type | None:
        """The class of a method; None for a function. It is found by name, once the class exists."""
        if self.class_name is None:
            return None
        found: Any = sys.modules.get(self.fn.__module__)
        for part in self.fn.__qualname__.split(".")[:-1]:
            found = getattr(found, part, None)
        return found if isinstance(found, type) else None

    def bind(self, owner: type) -> None:
        """Tells a method its class, where a search by name can not find it (a class inside a function)."""
        self.__dict__.setdefault("owner", owner)

    @cached_property
    def signature(self) -> Signature:
        """The function's parameters and result with their annotations resolved.

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
        """The type of one object that holds all that a client gives; documents show its schema."""
        return params_type(f"{camel_case(self.name)}Input", self.signature.client)

    @cached_property
    def params(self) -> TypeAdapter[dict[str, Any]]:
        """Validates a client's input, given by wire name, to Python values by parameter name."""
        return self._adapted(lambda: TypeAdapter(self.params_type), "parameters")

    @cached_property
    def params_schema(self) -> dict[str, Any]:
        """The JSON schema of the parameters; every route is read from it."""
        return self.params.json_schema(mode="validation")

    @cached_property
    def result(self) -> TypeAdapter[Any] | None:
        """Validates and serializes a result, or one item of a stream; None where the function makes whole responses."""
        return self._adapted(lambda: result_adapter(self.signature.returns), "result")

    @property
    def result_type(self) -> Any:
        """What a result is validated and serialized as."""
        return result_type(self.signature.returns)

    @property
    def is_async(self) -> bool:
        """Whether the function runs on the event loop by itself."""
        return inspect.iscoroutinefunction(self.fn) or self.signature.streams

    @property
    def summary(self) -> str:
        """The first line of the description, or the name in words."""
        first = (self.description or "").strip().partition("\n")[0].strip()
        return first or self.name.replace("_", " ").replace(".", " ").capitalize()

    @cached_property
    def place(self) -> str:
        """Where the function stands, as ``shop/actions.py:41``."""
        code = inspect.unwrap(self.fn).__code__
        return f"{relative_path(code.co_filename)}:{code.co_firstlineno}"

    def problem(self, what: str, parameter: str | None = None) -> ConfigError:
        """A ConfigError about this action, or about one of its parameters."""
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
                raise self.problem(f"has a type that pydantic can not validate: {text}", culprit.name) from error
            raise self.problem(f"the {what} can not be validated by pydantic: {text}") from error

    def _unfit_param(self) -> Param | None:
        for param in self.signature.client:
            try:
                TypeAdapter(params_type("Probe", (param,)))
            except Exception:
                return param
        return None


@overload
def action(fn: F, /) -> F: ...


@overload
def action(
    fn: None = None,
    /,
    *,
    triggers: Any = (),
    name: str | None = None,
    description: str | None = None,
    access_control: AccessControl = ALLOW_ALL,
    cache_control: CacheControl | None = None,
    timeout: float = 15,
    examples: Iterable[Example] = (),
    batch_invoker: BatchInvoker | None = None,
    retry: Retry | None = None,
    blocking: bool = True,
    max_body_bytes: int | None = None,
    tags: Iterable[str] = (),
) -> Callable[[F], F]: ...


def action(
    fn: F | None = None,
    /,
    *,
    triggers: Any = (),
    name: str | None = None,
    description: str | None = None,
    access_control: AccessControl = ALLOW_ALL,
    cache_control: CacheControl | None = None,
    timeout: float = 15,
    examples: Iterable[Example] = (),
    batch_invoker: BatchInvoker | None = None,
    retry: Retry | None = None,
    blocking: bool = True,
    max_body_bytes: int | None = None,
    tags: Iterable[str] = (),
) -> F | Callable[[F], F]:
    """Makes a function an action. Gives the function back, unchanged; its `Action` hangs on ``fn.servey_action``.

    ``triggers`` takes one trigger or any iterable of them. ``blocking=False`` says that a plain ``def`` is short and
    pure, and may run on the event loop.
    Errors: ConfigError for a decorator that can not be meant as it is written.
    """

    def decorate(fn: F) -> F:
        if not inspect.isroutine(cast(Any, fn)):
            raise ConfigError(f"@action stands on {fn!r}; put it on a function or a method")
        class_name = _class_name(fn)
        short_name = name or fn.__name__
        made = Action(
            fn=fn,
            name=name or (f"{class_name}.{short_name}" if class_name else short_name),
            description=description if description is not None else inspect.getdoc(fn),
            triggers=_as_tuple(triggers),
            access_control=access_control,
            cache_control=cache_control,
            timeout=timeout,
            examples=tuple(examples),
            batch_invoker=batch_invoker,
            retry=retry,
            blocking=blocking,
            max_body_bytes=max_body_bytes,
            tags=(tags,) if isinstance(tags, str) else tuple(tags),
            given_name=name is not None,
            class_name=class_name,
        )
        if not callable(access_control) and not hasattr(access_control, "rules"):
            raise made.problem(f"access_control is {access_control!r}; give a rule such as ScopeAccessControl('admin')")
        if isinstance(timeout, bool) or not 0 < timeout < math.inf:
            raise made.problem(f"timeout is {timeout!r}; give a number of seconds above 0")
        if max_body_bytes is not None and max_body_bytes < 0:
            raise made.problem(f"max_body_bytes is {max_body_bytes!r}; give a number of bytes, 0 or more")
        setattr(fn, "servey_action", made)  # noqa: B010
        return fn

    return decorate if fn is None else decorate(fn)


def get_action(fn: Any) -> Action | None:
    """The action that hangs on a function; None where there is none."""
    found = getattr(fn, "servey_action", None)
    return found if isinstance(found, Action) else None


def _as_tuple(triggers: Any) -> tuple[Any, ...]:
    return tuple(triggers) if isinstance(triggers, Iterable) and not isinstance(triggers, str) else (triggers,)


def _class_name(fn: Callable[..., Any]) -> str | None:
    """The class of a method, told by its qualified name and its first parameter; None for a plain function."""
    outer = fn.__qualname__.rpartition(".")[0].rpartition(".")[2]
    first = next(iter(inspect.signature(fn).parameters), None)
    return outer if outer and outer != "<locals>" and first == "self" else None


def camel_case(name: str) -> str:
    """``say_hello`` as ``SayHello``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^0-9A-Za-z]+", name))


def kebab_case(name: str) -> str:
    """``say_hello`` and ``SayHello`` as ``say-hello``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[\s_.]+", "-", words).strip("-").lower()


def relative_path(path: str) -> str:
    """A file's path as people know it: below the working directory without it."""
    import os

    below = os.path.relpath(path) if os.path.isabs(path) else path
    return path if below.startswith("..") else below
