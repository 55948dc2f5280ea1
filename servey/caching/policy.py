"""Which results the server caches, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from servey.core.actions import Action
from servey.core.cache import TtlCacheControl
from servey.core.pages import makes_pages
from servey.core.params import Wanted


class Injected(Protocol):
    """The parameters that FastAPI injects; see `servey.calls.injection.Injection`."""

    @cached_property
    def from_request(self) -> tuple[str, ...]:
        """The names of the parameters whose value depends on the request."""
        ...

    @cached_property
    def dependencies(self) -> tuple[str, ...]:
        """The names of the parameters that are dependencies."""
        ...

    @cached_property
    def takes_http(self) -> str | None:
        """``request`` or ``response`` if the action takes one of these objects, else None."""
        ...

    def reads_request(self, name: str, overrides: Mapping[Any, Any]) -> bool:
        """Whether a dependency reads the request, with an app's ``dependency_overrides`` applied."""
        ...

    @cached_property
    def wanted(self) -> tuple[Wanted, ...]:
        """What its dependencies receive from the call itself."""
        ...


@dataclass(frozen=True)
class ResultCachePolicy:
    """How the results of an action are cached.

    Shape: ``params`` are the client's parameters, ``injected`` those that FastAPI injects from the request; both are part
    of the key. So are the other dependencies of ``injection`` if they are plain values; a database session, for example, is
    not. ``by_caller`` and ``by_token`` say whether the caller and its token are too. If ``outlives``, a computation
    continues for those who wait for it after the caller that started it has left; with dependencies it cannot, because they
    belong to that caller.
    """

    ttl: float
    params: tuple[str, ...]
    injected: tuple[str, ...]
    by_caller: bool
    by_token: bool
    outlives: bool
    injection: Injected | None = None


def policy_of(action: Action, injection: Injected | None) -> ResultCachePolicy | None:
    """The cache policy of an action, or None if the server does not cache its results.

    Errors: ConfigError if results are declared public but depend on the caller.
    """
    control = action.cache_control
    filled: set[str] = {param.filled_by for param in action.signature.params}
    filled |= {wanted.kind for wanted in injection.wanted} if injection is not None else set()
    if isinstance(control, TtlCacheControl) and not control.private and "authorization" in filled:
        raise action.problem(
            "its cache_control is public (private=False), but it takes an Authorization; "
            "use private=True, or remove the Authorization"
        )
    if not isinstance(control, TtlCacheControl) or not control.server or why_not_cached(action, injection):
        return None
    return ResultCachePolicy(
        ttl=control.ttl,
        params=tuple(param.name for param in action.signature.client),
        injected=injection.from_request if injection is not None else (),
        by_caller=control.private or bool(filled & {"authorization", "context"}),
        by_token="context" in filled,
        outlives=injection is None,
        injection=injection,
    )


def why_not_cached(action: Action, injection: Injected | None) -> str | None:
    """Why the server does not cache the results of an action with a server-side cache control; None if it does."""
    control = action.cache_control
    if not isinstance(control, TtlCacheControl) or not control.server:
        return None
    if action.signature.streams:
        return "it streams"
    if action.result is None:
        return "it returns a Response"
    if makes_pages(action.signature.returns):
        return "it returns whole pages"
    taken = injection.takes_http if injection is not None else None
    return f"it takes the {taken}" if taken else None
