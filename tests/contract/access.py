"""Every kind of access rule, asked by every kind of caller, and what comes of it: the same on each way in.

`COLUMNS` are the ways in; each gives a function from the name of a rule and a caller to the code of the error, or None for
one who is let in.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from servey import (
    ALLOW_ALL,
    ALLOW_NONE,
    WEB_GET,
    WEB_POST,
    Authorization,
    ScopeAccessControl,
    TtlCacheControl,
    action,
)

CALLERS: dict[str, Any] = {
    "nobody": None,
    "a bad token": "bad token",
    "a wrong scope": Authorization("ada", frozenset({"other"})),
    "one scope": Authorization("bob", frozenset({"read"})),
    "all scopes": Authorization("boss", frozenset({"read", "write"})),
}
IN, WHO, NO = None, "unauthenticated", "forbidden"


def has_subject(authorization: Authorization | None) -> bool:
    return authorization is not None and authorization.subject_id is not None


async def is_boss(authorization: Authorization | None) -> bool:
    return authorization is not None and authorization.subject_id == "boss"


def owns(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    return authorization is not None and authorization.subject_id == params["owner"]


READ, WRITE = ScopeAccessControl("read"), ScopeAccessControl("write")


@dataclass(frozen=True)
class Rule:
    """A rule, and what each caller in the order of `CALLERS` gets; the one who owns what is asked for is the boss."""

    rule: Any
    outcomes: tuple[str | None, ...]
    looks_at_params: bool = False


RULES = {
    "allow_all": Rule(ALLOW_ALL, (IN, IN, IN, IN, IN)),
    "allow_none": Rule(ALLOW_NONE, (WHO, WHO, NO, NO, NO)),
    "scope": Rule(READ, (WHO, WHO, NO, IN, IN)),
    "any_of": Rule(ScopeAccessControl(("write", "read")), (WHO, WHO, NO, IN, IN)),
    "all_of": Rule(ScopeAccessControl(("write", "read"), require_all=True), (WHO, WHO, NO, NO, IN)),
    "function": Rule(has_subject, (WHO, WHO, IN, IN, IN)),
    "async_function": Rule(is_boss, (WHO, WHO, NO, NO, IN)),
    "both": Rule(READ & WRITE, (WHO, WHO, NO, NO, IN)),
    "one_of": Rule(READ | WRITE, (WHO, WHO, NO, IN, IN)),
    "nested": Rule(READ & (WRITE | is_boss), (WHO, WHO, NO, NO, IN)),
    "owner": Rule(owns, (WHO, WHO, NO, NO, IN), looks_at_params=True),
    "scope_and_owner": Rule(READ & owns, (WHO, WHO, NO, NO, IN), looks_at_params=True),
    "scope_or_owner": Rule(READ | owns, (WHO, WHO, NO, IN, IN), looks_at_params=True),
}
TABLE = [
    (rule, caller, outcome)
    for rule, facts in RULES.items()
    for caller, outcome in zip(CALLERS, facts.outcomes, strict=True)
]


def _guarded(name: str, rule: Rule) -> Callable[..., Any]:
    @action(name=f"by_{name}", triggers=WEB_POST, access_control=rule.rule)
    async def guarded(owner: str = "boss") -> str:
        return owner

    return guarded


def _kept(name: str, rule: Rule) -> Callable[..., Any]:
    @action(
        name=f"kept_by_{name}",
        triggers=WEB_GET,
        access_control=rule.rule,
        cache_control=TtlCacheControl(600, private=False),
    )
    async def kept(owner: str = "boss") -> str:
        return owner

    return kept


GUARDED = {f"by_{name}": _guarded(name, rule) for name, rule in RULES.items()}
KEPT = [_kept(name, rule) for name, rule in RULES.items()]

Ask = Callable[[str, str], str | None]


@contextmanager
def kept_results() -> Iterator[Ask]:
    """Results that are everybody's and that the server has kept already, but for those who may not have them."""
    from servey import Settings, create_app
    from servey.testing import client, token_for

    app = create_app(actions=KEPT, settings=Settings(env="dev"))
    with client(app) as http:

        def status(rule: str, caller: Any) -> tuple[str | None, str]:
            token = token_for(app, caller) if isinstance(caller, Authorization) else caller
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            answer = http.get(f"/actions/kept-by-{rule.replace('_', '-')}", headers=headers)
            return (None if answer.status_code == 200 else answer.json()["code"]), answer.headers["cache-control"]

        for rule in RULES:
            status(rule, CALLERS["all scopes"])

        def ask(rule: str, caller: str) -> str | None:
            code, freshness = status(rule, CALLERS[caller])
            assert freshness.startswith("public, max-age=" if code is None else "no-store")
            return code

        yield ask
