"""The decorator `@action`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast, overload

from servey.compat.annotations import written_signature
from servey.core.access import ALLOW_ALL, AccessControl
from servey.core.actions.checks import invalid_values, unknown_keywords
from servey.core.actions.examples import BatchInvoker, Example
from servey.core.actions.facts import Action
from servey.core.cache import CacheControl
from servey.core.errors import ConfigError, mistake
from servey.core.queues import DEFAULT_QUEUE, Limit, Retry

F = TypeVar("F", bound=Callable[..., Any])


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
    deprecated: bool = False,
    responses: Mapping[int | str, Any] | None = None,
    status_code: int | None = None,
    hidden: Iterable[str] = (),
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
    limit: Limit | None = None,
    cancel_on_disconnect: bool = False,
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
    deprecated: bool = False,
    responses: Mapping[int | str, Any] | None = None,
    status_code: int | None = None,
    hidden: Iterable[str] = (),
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
    limit: Limit | None = None,
    cancel_on_disconnect: bool = False,
    **unknown: Any,
) -> F | Callable[[F], F]:
    """Make a function an action. Returns the function unchanged; its `Action` is stored in ``fn.servey_action``.

    ``triggers`` accepts one trigger or any iterable of them. ``blocking=False`` declares that a plain ``def`` is short and
    pure and may run on the event loop. ``status_code`` is that of a success over REST. ``hidden`` lists what the action is
    not offered on: ``graphql``, ``respond-async``, ``command``, ``mcp``. Jobs of the action wait in ``queue``, those of the
    highest ``priority`` (-100 to 100) first, and run as its ``limit`` allows. With ``cancel_on_disconnect`` a call over REST
    is cancelled when its client disconnects.
    Errors: ConfigError for invalid arguments.
    """

    def decorate(fn: F) -> F:
        if not inspect.isroutine(cast(Any, fn)):
            raise ConfigError(f"@action decorates {fn!r}; use it on a function or a method")
        class_name = _class_name(fn)
        own_name = f"{class_name}.{fn.__name__}" if class_name else fn.__name__
        made = Action(
            fn=fn,
            name=name if name and isinstance(cast(Any, name), str) else own_name,
            description=description if description is not None else inspect.getdoc(fn),
            triggers=_as_tuple(triggers),
            access_control=access_control,
            cache_control=cache_control,
            timeout=timeout,
            examples=_as_tuple(examples),
            batch_invoker=batch_invoker,
            retry=retry,
            blocking=blocking,
            max_body_bytes=max_body_bytes,
            tags=_as_tuple(tags),
            deprecated=deprecated,
            responses=responses or {},
            status_code=status_code,
            hidden=_as_tuple(hidden),
            queue=queue,
            priority=priority,
            limit=limit,
            cancel_on_disconnect=cancel_on_disconnect,
            given_name=name is not None,
            class_name=class_name,
        )
        problems = [*unknown_keywords(unknown), *invalid_values(made, name, description)]
        if isinstance(examples, Example):
            problems.append("examples is one Example; write a list, e.g. examples=[Example('name', {'parameter': 1})]")
        if problems:
            mistake(made.problem(problem).problems[0] for problem in problems)
            made = Action(fn=fn, name=made.name, class_name=class_name)
        setattr(fn, "servey_action", made)  # noqa: B010
        return fn

    return decorate if fn is None else decorate(fn)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes | type) else (value,)


def _class_name(fn: Callable[..., Any]) -> str | None:
    """Return the class name of a method, from its qualified name and first parameter, or None for a function."""
    outer = fn.__qualname__.rpartition(".")[0].rpartition(".")[2]
    takes_self = next(iter(written_signature(fn).parameters), None) == "self"
    return outer if outer and outer != "<locals>" and takes_self else None
