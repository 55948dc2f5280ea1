"""Groups: what several actions have in common, declared once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar, Unpack, cast, overload

from servey.core.access import ALLOW_ALL, AccessControl, AllOf, problem_of
from servey.core.actions.decorator import action
from servey.core.actions.examples import BatchInvoker, Example
from servey.core.actions.facts import Action
from servey.core.cache import CacheControl
from servey.core.errors import ConfigError
from servey.core.queues import Limit, Retry
from servey.core.triggers import hidden_problem

F = TypeVar("F", bound=Callable[..., Any])


class ActionOptions(TypedDict, total=False):
    """The arguments of `servey.action`."""

    triggers: Any
    name: str | None
    description: str | None
    access_control: AccessControl
    cache_control: CacheControl | None
    timeout: float
    examples: Iterable[Example]
    batch_invoker: BatchInvoker | None
    retry: Retry | None
    blocking: bool
    max_body_bytes: int | None
    tags: Iterable[str]
    deprecated: bool
    responses: Mapping[int | str, Any] | None
    status_code: int | None
    hidden: Iterable[str]
    queue: str
    priority: int
    limit: Limit | None
    cancel_on_disconnect: bool


@dataclass(frozen=True, kw_only=True)
class Group:
    """What several actions have in common; ``@group.action(...)`` takes the arguments of ``@action``.

    Shape: the paths of web and page triggers begin with ``prefix``; without a path of its own, a web trigger is at the
    prefix followed by the action's name. ``tags`` and ``hidden`` are added to the action's. A call needs the permission of
    the group's ``access_control`` and of the action's. ``dependencies`` are ``Depends(...)`` that run before each call on
    every transport, for example guards; their values are not used.
    Errors: ConfigError for an invalid argument.
    """

    prefix: str = ""
    tags: Iterable[str] = ()
    access_control: AccessControl = ALLOW_ALL
    dependencies: Iterable[Any] = ()
    hidden: Iterable[str] = ()

    def __post_init__(self) -> None:
        for name in ("tags", "dependencies", "hidden"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        problem = next(filter(None, self._problems()), None)
        if problem is not None:
            raise ConfigError(f"Group: {problem}")

    def _problems(self) -> Iterable[str | None]:
        prefix: Any = self.prefix
        if prefix != "" and not (isinstance(prefix, str) and prefix.startswith("/") and not prefix.endswith("/")):
            yield f"prefix is {prefix!r}; begin it with '/' and do not end it with one, e.g. prefix='/articles'"
        if not all(isinstance(each, str) for each in self.tags):
            yield f"tags is {self.tags!r}; write strings, e.g. tags=('shop',)"
        yield problem_of(self.access_control)
        for each in self.dependencies:
            if not callable(getattr(each, "dependency", None)):
                yield f"dependencies has {each!r:.100}; write Depends(function)"
        yield hidden_problem(self.hidden)

    @overload
    def action(self, fn: F, /) -> F: ...

    @overload
    def action(self, fn: None = None, /, **options: Unpack[ActionOptions]) -> Callable[[F], F]: ...

    def action(self, fn: F | None = None, /, **options: Unpack[ActionOptions]) -> F | Callable[[F], F]:
        """Make a function an action of this group; see `servey.action`."""

        def decorate(fn: F) -> F:
            decorated = action(**options)(fn)
            own: Action = cast(Any, decorated).servey_action
            rules = [rule for rule in (self.access_control, own.access_control) if rule is not ALLOW_ALL]
            grouped = replace(
                own,
                prefix=self.prefix,
                tags=(*self.tags, *(each for each in own.tags if each not in self.tags)),
                access_control=AllOf(tuple(cast(Any, rules))) if len(rules) > 1 else (*rules, ALLOW_ALL)[0],
                dependencies=tuple(self.dependencies),
                hidden=(*self.hidden, *(each for each in own.hidden if each not in self.hidden)),
            )
            cast(Any, decorated).servey_action = grouped
            return decorated

        return decorate if fn is None else decorate(fn)
