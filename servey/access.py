"""Who may call: the caller's `Authorization`, and the rules that look at it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

from servey.errors import ConfigError, Forbidden, ServeyError, Unauthenticated


class AuthorizationError(ServeyError):
    """A token that is not valid, for whatever reason; callers are told only that."""


@dataclass(frozen=True)
class Authorization:
    """What a valid token says of its bearer.

    Units: ``not_before`` and ``expire_at`` are aware datetimes in UTC.
    Source: RFC 7519 section 4.1, RFC 8693 section 4.2 (scope).
    """

    subject_id: str | None = None
    scopes: frozenset[str] = frozenset()
    not_before: datetime | None = None
    expire_at: datetime | None = None

    def is_valid_at(self, moment: datetime | None = None) -> bool:
        """Whether the token may be used at that moment, now by default."""
        moment = moment or datetime.now(UTC)
        started = self.not_before is None or self.not_before <= moment
        return started and (self.expire_at is None or moment < self.expire_at)

    def has_scope(self, scope: str) -> bool:
        """Whether this one scope was granted."""
        return scope in self.scopes

    def has_any_scope(self, scopes: Iterable[str]) -> bool:
        """Whether at least one of these scopes was granted."""
        return not self.scopes.isdisjoint(scopes)

    def has_all_scopes(self, scopes: Iterable[str]) -> bool:
        """Whether every one of these scopes was granted."""
        return self.scopes.issuperset(scopes)

    def check_valid_at(self, moment: datetime | None = None) -> None:
        """Raises Unauthenticated unless the token may be used at that moment."""
        if not self.is_valid_at(moment):
            raise Unauthenticated()

    def check_scope(self, scope: str) -> None:
        """Raises Forbidden unless this scope was granted."""
        self.check_all_scopes((scope,))

    def check_any_scope(self, scopes: Iterable[str]) -> None:
        """Raises Forbidden unless one of these scopes was granted."""
        if not self.has_any_scope(scopes):
            raise Forbidden()

    def check_all_scopes(self, scopes: Iterable[str]) -> None:
        """Raises Forbidden unless all of these scopes were granted."""
        if not self.has_all_scopes(scopes):
            raise Forbidden()


ROOT = Authorization(subject_id=None, scopes=frozenset({"root"}))
"""Somebody with the scope ``root``."""

PUBLIC: Authorization | None = None
"""The anonymous caller."""


class Authorizer(Protocol):
    """Turns a token into what it says, or refuses it.

    Errors: AuthorizationError for every token that is not valid.
    """

    async def authorize(self, token: str) -> Authorization: ...


class PasswordAuthenticator(Protocol):
    """Knows who somebody is by name and password; None for nobody."""

    async def authenticate(self, username: str, password: str) -> Authorization | None: ...


# --------------------------------------------------------------------------------------------------------- rules

Verdict: TypeAlias = bool | Awaitable[bool]
AccessRule: TypeAlias = Callable[..., Verdict]
"""A rule is any callable that says yes or no, plain or async: ``rule(authorization)``, or
``rule(authorization, params)`` for one that looks at the validated parameters, and so runs after validation."""


class _Combinable:
    """Lets rules be joined: ``a & b`` wants both, ``a | b`` one of them."""

    def __and__(self, other: AccessRule) -> AllOf:
        return AllOf((self, other))  # type: ignore[arg-type]

    def __rand__(self, other: AccessRule) -> AllOf:
        return AllOf((other, self))  # type: ignore[arg-type]

    def __or__(self, other: AccessRule) -> AnyOf:
        return AnyOf((self, other))  # type: ignore[arg-type]

    def __ror__(self, other: AccessRule) -> AnyOf:
        return AnyOf((other, self))  # type: ignore[arg-type]


@dataclass(frozen=True, repr=False)
class _Constant(_Combinable):
    name: str
    verdict: bool

    def __call__(self, authorization: Authorization | None) -> bool:
        return self.verdict

    def __repr__(self) -> str:
        return self.name


ALLOW_ALL = _Constant("ALLOW_ALL", True)
"""Everyone may call, with or without a token."""

ALLOW_NONE = _Constant("ALLOW_NONE", False)
"""Nobody may call from outside."""


@dataclass(frozen=True)
class ScopeAccessControl(_Combinable):
    """Lets in whoever holds ``execute_scope``; with several scopes, any one of them, or all with ``require_all``."""

    execute_scope: str | tuple[str, ...]
    require_all: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.execute_scope, str):
            object.__setattr__(self, "execute_scope", tuple(self.execute_scope))
        if not self.scopes or not all(self.scopes):
            raise ConfigError("ScopeAccessControl needs at least one scope, and none of them empty")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that it looks for."""
        return (self.execute_scope,) if isinstance(self.execute_scope, str) else self.execute_scope

    def __call__(self, authorization: Authorization | None) -> bool:
        if authorization is None:
            return False
        held = authorization.has_all_scopes if self.require_all else authorization.has_any_scope
        return held(self.scopes)

    def __repr__(self) -> str:
        joined = (" and " if self.require_all else " or ").join(self.scopes)
        return f"scope {joined}"


@dataclass(frozen=True, repr=False)
class AllOf(_Combinable):
    """A rule that wants every one of its rules to say yes."""

    rules: tuple[AccessRule, ...]

    def __repr__(self) -> str:
        return "(" + " & ".join(map(rule_text, self.rules)) + ")"


@dataclass(frozen=True, repr=False)
class AnyOf(_Combinable):
    """A rule that wants one of its rules to say yes."""

    rules: tuple[AccessRule, ...]

    def __repr__(self) -> str:
        return "(" + " | ".join(map(rule_text, self.rules)) + ")"


AccessControl: TypeAlias = AccessRule | AllOf | AnyOf


def rule_text(rule: AccessControl) -> str:
    """How a rule shows itself to people: its own text, or the name of a plain function."""
    return getattr(rule, "__name__", None) or repr(rule)


def required_scopes(rule: AccessControl) -> tuple[str, ...]:
    """Every scope that a rule mentions, in order, for the documents that list them."""
    if isinstance(rule, ScopeAccessControl):
        return rule.scopes
    if isinstance(rule, AllOf | AnyOf):
        return tuple(dict.fromkeys(scope for part in rule.rules for scope in required_scopes(part)))
    return ()


def looks_at_params(rule: AccessControl) -> bool:
    """Whether a rule needs the validated parameters, so that it can only run once they are valid."""
    if isinstance(rule, AllOf | AnyOf):
        return any(map(looks_at_params, rule.rules))
    if isinstance(rule, _Constant | ScopeAccessControl):
        return False
    try:
        signature = inspect.signature(rule)
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in signature.parameters.values()) >= 2


async def allows(rule: AccessControl, authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    """Whether a rule lets this caller in."""
    if isinstance(rule, AllOf):
        for part in rule.rules:
            if not await allows(part, authorization, params):
                return False
        return True
    if isinstance(rule, AnyOf):
        for part in rule.rules:
            if await allows(part, authorization, params):
                return True
        return False
    verdict = rule(authorization, params) if looks_at_params(rule) else rule(authorization)
    return bool(await verdict if inspect.isawaitable(verdict) else verdict)


def refusal(authorization: Authorization | None) -> Unauthenticated | Forbidden:
    """The error for a caller whom a rule refused: 401 for the anonymous, 403 for everyone else."""
    return Unauthenticated() if authorization is None else Forbidden()
