"""Access control: the caller's `Authorization` and the rules that check it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeAlias, cast

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from servey.compat.annotations import written_signature
from servey.core.errors import ConfigError, Forbidden, ServeyError, Unauthenticated


class AuthorizationError(ServeyError):
    """A token is invalid. The reason is only logged; clients receive a plain 401."""


@dataclass(frozen=True)
class Authorization:
    """The verified claims of a caller's token.

    Units: ``not_before`` and ``expire_at`` are aware datetimes in UTC.
    Source: RFC 7519 section 4.1, RFC 8693 section 4.2 (scope).
    """

    subject_id: str | None = None
    scopes: frozenset[str] = frozenset()
    not_before: datetime | None = None
    expire_at: datetime | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Input never becomes an Authorization, wherever it is in a type; an instance is accepted and can be serialized.
        return core_schema.chain_schema([core_schema.is_instance_schema(cls), handler(source)])

    def is_valid_at(self, moment: datetime | None = None) -> bool:
        """Return whether the token is valid at ``moment``, by default now."""
        moment = moment or datetime.now(UTC)
        started = self.not_before is None or self.not_before <= moment
        return started and (self.expire_at is None or moment < self.expire_at)

    def has_scope(self, scope: str) -> bool:
        """Return whether the caller holds this scope."""
        return scope in self.scopes

    def has_any_scope(self, scopes: Iterable[str]) -> bool:
        """Return whether the caller holds at least one of these scopes."""
        return not self.scopes.isdisjoint(scopes)

    def has_all_scopes(self, scopes: Iterable[str]) -> bool:
        """Return whether the caller holds all of these scopes."""
        return self.scopes.issuperset(scopes)

    def check_valid_at(self, moment: datetime | None = None) -> None:
        """Raise Unauthenticated unless the token is valid at ``moment``, by default now."""
        if not self.is_valid_at(moment):
            raise Unauthenticated()

    def check_scope(self, scope: str) -> None:
        """Raise Forbidden unless the caller holds this scope."""
        self.check_all_scopes((scope,))

    def check_any_scope(self, scopes: Iterable[str]) -> None:
        """Raise Forbidden unless the caller holds at least one of these scopes."""
        if not self.has_any_scope(scopes):
            raise Forbidden()

    def check_all_scopes(self, scopes: Iterable[str]) -> None:
        """Raise Forbidden unless the caller holds all of these scopes."""
        if not self.has_all_scopes(scopes):
            raise Forbidden()


class _Stored:
    """Annotates an `Authorization` that the app itself has stored as JSON and reads back."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        checked: Any = handler(source)
        stored: CoreSchema = checked["steps"][1]
        return stored


StoredAuthorization: TypeAlias = Annotated[Authorization, _Stored]
"""An `Authorization` in the app's own storage, e.g. in a job; never use it for what a client sends."""

ROOT = Authorization(subject_id=None, scopes=frozenset({"root"}))
"""A caller with the scope ``root``."""

PUBLIC: Authorization | None = None
"""The anonymous caller."""


class Authorizer(Protocol):
    """Verifies tokens.

    Errors: AuthorizationError for every invalid token.
    """

    async def authorize(self, token: str) -> Authorization: ...


class TokenSource(Protocol):
    """Says where a caller's token is: for HTTP requests, websockets and ``connection_init`` alike.

    Shape: ``vary`` names the request headers that it reads, ``Cookie`` for cookies. It may have an attribute ``scheme``, a
    security scheme of FastAPI that OpenAPI shows.
    """

    @property
    def vary(self) -> tuple[str, ...]: ...

    def token_of(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> str | None:
        """Return the token, or None. The names of ``headers`` are in lower case."""
        ...


class PasswordAuthenticator(Protocol):
    """Checks a user name and a password; returns None if they are wrong."""

    async def authenticate(self, username: str, password: str) -> Authorization | None: ...


# --------------------------------------------------------------------------------------------------------- rules

Verdict: TypeAlias = bool | Awaitable[bool]
AccessRule: TypeAlias = Callable[..., Verdict]
"""A rule is any callable that returns a bool, plain or async: ``rule(authorization)``, or
``rule(authorization, params)`` to use the validated parameters; such a rule runs after validation."""


class _Combinable:
    """Adds ``a & b`` (both rules must allow the call) and ``a | b`` (one of them must)."""

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
"""No client may call; only trusted callers such as schedules may."""


@dataclass(frozen=True)
class ScopeAccessControl(_Combinable):
    """Allows callers that hold ``execute_scope``: any one of several scopes, or all of them with ``require_all``."""

    execute_scope: str | tuple[str, ...]
    require_all: bool = False

    def __post_init__(self) -> None:
        given: Any = self.execute_scope
        if not isinstance(given, str | tuple | list | set | frozenset) or not all(
            isinstance(each, str) for each in given
        ):
            raise ConfigError(f"ScopeAccessControl({given!r}): give the name of a scope, or a tuple of names")
        if not isinstance(self.execute_scope, str):
            object.__setattr__(self, "execute_scope", tuple(self.execute_scope))
        if not self.scopes or not all(self.scopes):
            raise ConfigError("ScopeAccessControl needs at least one scope, and no scope may be empty")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that the rule checks."""
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
    """Allows a call if every one of its rules does."""

    rules: tuple[AccessRule, ...]

    def __repr__(self) -> str:
        return "(" + " & ".join(map(rule_text, self.rules)) + ")"


@dataclass(frozen=True, repr=False)
class AnyOf(_Combinable):
    """Allows a call if one of its rules does."""

    rules: tuple[AccessRule, ...]

    def __repr__(self) -> str:
        return "(" + " | ".join(map(rule_text, self.rules)) + ")"


AccessControl: TypeAlias = AccessRule | AllOf | AnyOf


def problem_of(rule: Any) -> str | None:
    """Return why something cannot be an access rule and what to write instead, or None if it can."""
    if rule is ALLOW_ALL:
        return None  # the default; reading signatures takes time at the start
    if isinstance(rule, type):
        return f"access_control is the class {rule.__name__}; use an instance of it, such as {rule.__name__}(...)"
    if _is_combination(rule):
        return next((problem for part in rule.rules if (problem := problem_of(part)) is not None), None)
    if not callable(rule):
        constants = {True: "ALLOW_ALL", False: "ALLOW_NONE", None: "ALLOW_ALL"}
        is_constant = rule is None or isinstance(rule, bool)
        advice = (
            constants[rule] if is_constant else f"ScopeAccessControl({rule if isinstance(rule, str) else 'admin'!r})"
        )
        return f"access_control is {rule!r}; use a rule such as {advice}"
    try:
        written_signature(rule).bind(*(None,) * (2 if looks_at_params(cast(Any, rule)) else 1))
    except TypeError:
        name = getattr(rule, "__name__", None) or repr(rule)
        return f"access_control is {name}, which does not take (authorization) or (authorization, params)"
    except ValueError:
        pass  # a callable without a readable signature
    return None


def _is_combination(rule: Any) -> bool:
    # A subclass with a `__call__` of its own is a rule like any other.
    return isinstance(rule, AllOf | AnyOf) and not callable(rule)


def rule_text(rule: AccessControl) -> str:
    """Return a readable text for a rule: its repr, or the name of a plain function."""
    return getattr(rule, "__name__", None) or repr(rule)


def required_scopes(rule: AccessControl) -> tuple[str, ...]:
    """Return every scope that a rule names, in order, for OpenAPI and similar documents."""
    if isinstance(rule, ScopeAccessControl):
        return rule.scopes
    if isinstance(rule, AllOf | AnyOf) and _is_combination(rule):
        return tuple(dict.fromkeys(scope for part in rule.rules for scope in required_scopes(part)))
    return ()


def looks_at_params(rule: AccessControl) -> bool:
    """Return whether a rule takes the validated parameters and so has to run after validation."""
    if isinstance(rule, AllOf | AnyOf) and _is_combination(rule):
        return any(map(looks_at_params, rule.rules))
    try:
        signature = written_signature(cast(Any, rule))
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in signature.parameters.values()) >= 2


async def allows(rule: AccessControl, authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    """Return whether a rule allows this caller."""
    if isinstance(rule, AllOf) and _is_combination(rule):
        for part in rule.rules:
            if not await allows(part, authorization, params):
                return False
        return True
    if isinstance(rule, AnyOf) and _is_combination(rule):
        for part in rule.rules:
            if await allows(part, authorization, params):
                return True
        return False
    given: Any = rule(authorization, params) if looks_at_params(rule) else rule(authorization)  # type: ignore[operator]
    verdict = await given if inspect.isawaitable(given) else given
    if callable(verdict):
        # A factory of rules that was not called: its result would always be true.
        raise ServeyError(f"access rule {rule_text(rule)} returned {verdict!r}; a rule returns True or False")
    return bool(verdict)


_SCOPE_CALL = ScopeAccessControl.__call__


def allows_by_scope(rule: AccessControl, authorization: Authorization | None) -> bool:
    """Return True if a plain `ScopeAccessControl` allows this caller; False if it does not or `allows` has to decide."""
    if type(rule) is not ScopeAccessControl or ScopeAccessControl.__call__ is not _SCOPE_CALL:
        return False
    return rule(authorization) is True


def refusal(authorization: Authorization | None) -> Unauthenticated | Forbidden:
    """Return the error for a refused caller: 401 for the anonymous, 403 for everyone else."""
    return Unauthenticated() if authorization is None else Forbidden()
