"""Which results the server keeps, and what a call is known by.

Two calls are the same where the function can not tell them apart: same parameters, same of what FastAPI fills in from the
request, and the same caller where it may see one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from servey.actions import Action
from servey.cache import TtlCacheControl
from servey.canonical import canonical
from servey.context import Context
from servey.errors import Unauthenticated
from servey.pages import makes_pages

if TYPE_CHECKING:
    from servey.dependencies import Injection


@dataclass(frozen=True)
class Keeping:
    """How an action's results are kept, decided once.

    ``params`` are the client's parameters, ``injected`` those that FastAPI fills from the request: both are part of the
    key. ``by_caller`` and ``by_token`` say whether the caller is, and the very token. Where ``outlives``, a computation
    goes on for those who wait when the caller that began it is gone; it can not where it holds that caller's dependencies.
    """

    ttl: float
    params: tuple[str, ...]
    injected: tuple[str, ...]
    by_caller: bool
    by_token: bool
    outlives: bool


def keeping_of(action: Action, injection: Injection | None) -> Keeping | None:
    """How the server keeps an action's results; None where it does not.

    Errors: ConfigError for results that are said to be public and depend on who calls.
    """
    control = action.cache_control
    filled = {param.filled_by for param in action.signature.params}
    if isinstance(control, TtlCacheControl) and not control.private and "authorization" in filled:
        raise action.problem(
            "its cache_control says that results are for everyone (private=False), and it is told who calls; "
            "say private=True, or leave the Authorization out"
        )
    if not isinstance(control, TtlCacheControl) or not control.server or not_kept_because(action, injection):
        return None
    return Keeping(
        ttl=control.ttl,
        params=tuple(param.name for param in action.signature.client),
        injected=injection.from_request if injection is not None else (),
        by_caller=control.private or bool(filled & {"authorization", "context"}),
        by_token="context" in filled,
        outlives=injection is None,
    )


def not_kept_because(action: Action, injection: Injection | None) -> str | None:
    """Why the server can not keep the results of an action that wants it; None where it can."""
    control = action.cache_control
    if not isinstance(control, TtlCacheControl) or not control.server:
        return None
    if action.signature.streams:
        return "it streams"
    if action.result is None:
        return "it makes whole responses"
    if makes_pages(action.signature.returns):
        return "it makes whole pages"
    taken = injection.takes_http if injection is not None else None
    return f"it takes the {taken} itself" if taken else None


async def call_key(keeping: Keeping, values: Mapping[str, Any], context: Context) -> tuple[str, str]:
    """What a call is known by: its parameters, and everything that its result depends on. Errors: NotPlainError."""
    params = digest({name: values[name] for name in keeping.params})
    injected = {name: values.get(name) for name in keeping.injected}
    caller = await _caller(context, by_token=keeping.by_token) if keeping.by_caller else None
    return params, digest([params, injected, caller])


async def _caller(context: Context, *, by_token: bool) -> Any:
    """What an action can see of its caller: everything but when the token ends."""
    if context.trusted:
        return "trusted"
    try:
        authorization = await context.authorize()
    except Unauthenticated:
        return "refused"
    seen: Any = None
    if authorization is not None:
        seen = {each.name: getattr(authorization, each.name) for each in fields(authorization)}
        del seen["not_before"], seen["expire_at"]
    # Two callers who are not named are not the same one.
    unnamed = authorization is not None and authorization.subject_id is None
    return [seen, context.token if by_token or unnamed else None]


def digest(value: Any) -> str:
    """A short text that stands for a value. Errors: NotPlainError."""
    return sha256(canonical(value).encode()).hexdigest()
