"""One table of calls and outcomes; every transport has to give the same ones.

A later transport adds itself to `transports.py`, and inherits every case.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NewType

from fastapi import Depends, HTTPException
from pydantic import BaseModel, Field, PlainSerializer, SecretStr, field_serializer
from typing_extensions import TypeAliasType

from servey import (
    ALLOW_NONE,
    WEB_POST,
    ActionError,
    Authorization,
    Conflict,
    Context,
    Forbidden,
    NotFound,
    ScopeAccessControl,
    action,
)
from tests.contract.access import GUARDED


class Size(Enum):
    small = "s"
    large = "l"


@dataclass
class Item:
    name: str
    price: Decimal = Decimal("1.50")
    size: Size = Size.small


class Order(BaseModel):
    items: list[Item]
    due: date | None = None


class Card(BaseModel):
    """What is secret leaves the process only as its serializers write it."""

    owner: str
    number: SecretStr
    pin: Annotated[str, PlainSerializer(lambda pin: "*" * len(pin), return_type=str)]
    password: str = Field("sesame", exclude=True)

    @field_serializer("owner")
    def initial(self, owner: str) -> str:
        return f"{owner[0]}."


async def session() -> AsyncIterator[list[str]]:
    log = ["open"]
    yield log
    log.append("close")


def owns(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    return authorization is not None and authorization.subject_id == params["owner"]


@action(triggers=WEB_POST)
async def add(a: int, b: int = 2) -> int:
    return a + b


@action(triggers=WEB_POST)
def concat(words: list[str], by: Annotated[str, Field(max_length=3)] = "-") -> str:
    return by.join(words)


@action(triggers=WEB_POST, blocking=False)
def in_place(number: int) -> int:
    return -number


@action(triggers=WEB_POST)
async def order(order: Order) -> Order:
    assert isinstance(order.items[0], Item)
    return order


@action(triggers=WEB_POST)
async def cards() -> list[Card]:
    return [Card(owner="Ada", number=SecretStr("4111"), pin="1234")]


@action(triggers=WEB_POST)
async def nothing() -> None: ...


@action(triggers=WEB_POST)
async def odd_names(json: int, schema: int, model_config: int, copy: int, self_: int, event: int, name: int) -> int:
    return json + schema + model_config + copy + self_ + event + name


@action(triggers=WEB_POST)
async def with_session(log: Annotated[list[str], Depends(session)]) -> list[str]:
    return list(log)


@action(triggers=WEB_POST)
def fail(how: str) -> None:
    raise {
        "missing": NotFound("no such"),
        "conflict": Conflict("twice"),
        "forbidden": Forbidden("not you"),
        "own": ActionError(418, "teapot", "short and stout"),
        "http": HTTPException(402, "pay first"),
        "odd": RuntimeError("secret text"),
    }[how]


@action(triggers=WEB_POST)
async def lies() -> int:
    return "text"  # type: ignore[return-value]


@action(triggers=WEB_POST, timeout=0.1)
async def slow() -> None:
    await asyncio.sleep(30)


@action(triggers=WEB_POST, timeout=0.1)
def slow_def() -> None:
    time.sleep(0.3)


@action(triggers=WEB_POST)
async def who(authorization: Authorization | None) -> str | None:
    return authorization.subject_id if authorization else None


@action(triggers=WEB_POST)
async def must_know(authorization: Authorization) -> str | None:
    return authorization.subject_id


async def current_user(authorization: Authorization) -> str | None:
    return authorization.subject_id


async def maybe_user(authorization: Authorization | None, context: Context) -> str | None:
    return authorization.subject_id if authorization and context.request_id else None


async def from_the_app() -> str:
    return "the app's"


Caller = NewType("Caller", Authorization)
User = TypeAliasType("User", Annotated[str, Depends(from_the_app)])


@action(triggers=WEB_POST)
async def dependency_knows(user: Annotated[str | None, Depends(current_user)]) -> str | None:
    return user


@action(triggers=WEB_POST)
async def dependency_may_know(user: Annotated[str | None, Depends(maybe_user)]) -> str | None:
    return user


@action(triggers=WEB_POST)
async def caller_by_alias(who: Caller | None, user: User) -> str:
    return f"{user} {who.subject_id if who else None}"


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def only_root() -> str:
    return "in"


@action(triggers=WEB_POST, access_control=ALLOW_NONE)
async def closed() -> str:
    return "in"


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root") | owns)
async def owned(owner: str) -> str:
    return "in"


@action(triggers=WEB_POST)
async def has_context(context: Context) -> bool:
    return bool(context.request_id)


@action(triggers=WEB_POST)
async def stream(upto: int) -> AsyncIterator[int]:
    for number in range(upto):
        yield number


ACTIONS = [
    add, concat, in_place, order, cards, nothing, odd_names, with_session, fail, lies, slow, slow_def, who, must_know,
    dependency_knows, dependency_may_know, caller_by_alias, only_root, closed, owned, has_context, stream, *GUARDED.values(),
]  # fmt: skip
globals().update(GUARDED)  # for the command line, which finds what has a name in the module

ANONYMOUS = None
ADA = Authorization("ada", frozenset({"read"}))
ROOT = Authorization("boss", frozenset({"root"}))
BAD_TOKEN = "bad token"


@dataclass(frozen=True)
class Case:
    """A call, and the JSON value that it gives or the code of the error that it ends with."""

    action: str
    params: dict[str, Any] = field(default_factory=dict)
    value: Any = None
    error: str | None = None
    caller: Any = ANONYMOUS

    @property
    def id(self) -> str:
        caller = self.caller if isinstance(self.caller, str) else self.caller.subject_id if self.caller else "anonymous"
        given = ",".join(f"{name}={value!r:.20}" for name, value in self.params.items())
        return f"{CASES.index(self):02} {self.action}({given}) by {caller}"


_FORGED = {"subject_id": "eve", "scopes": ["root"]}
_ITEM = {"name": "tea", "price": "2.10", "size": "l"}
_NAMES = dict.fromkeys(("json", "schema", "model_config", "copy", "self_", "event", "name"), 1)

CASES = [
    Case("add", {"a": 1}, 3),
    Case("add", {"a": 2**70, "b": 1}, 2**70 + 1),
    Case("add", {"a": 1, "unknown": 1}, 3),
    Case("add", {"a": "x"}, error="invalid_params"),
    Case("add", {}, error="invalid_params"),
    Case("concat", {"words": ["ä", "☃"], "by": ", "}, "ä, ☃"),
    Case("concat", {"words": [], "by": "toolong"}, error="invalid_params"),
    Case("in_place", {"number": 4}, -4),
    Case("order", {"order": {"items": [_ITEM]}}, {"items": [_ITEM], "due": None}),
    Case("order", {"order": {"items": [{"name": "a"}], "due": "2026-02-01"}},
         {"items": [{"name": "a", "price": "1.50", "size": "s"}], "due": "2026-02-01"}),
    Case("order", {"order": {"items": [{"name": "a", "size": "xl"}]}}, error="invalid_params"),
    Case("cards", {}, [{"owner": "A.", "number": "*" * 10, "pin": "****"}]),
    Case("nothing", {}, None),
    Case("odd_names", _NAMES, 7),
    Case("with_session", {}, ["open"]),
    Case("with_session", {"log": ["forged"]}, ["open"]),
    Case("fail", {"how": "missing"}, error="not_found"),
    Case("fail", {"how": "conflict"}, error="conflict"),
    Case("fail", {"how": "forbidden"}, error="forbidden"),
    Case("fail", {"how": "own"}, error="teapot"),
    Case("fail", {"how": "http"}, error="http_402"),
    Case("fail", {"how": "odd"}, error="internal"),
    Case("lies", {}, error="internal"),
    Case("slow", {}, error="timeout"),
    Case("slow_def", {}, error="timeout"),
    Case("who", {}, None),
    Case("who", {"authorization": {"subject_id": "eve"}}, None),
    Case("who", {}, "ada", caller=ADA),
    Case("who", {}, error="unauthenticated", caller=BAD_TOKEN),
    Case("must_know", {}, error="unauthenticated"),
    Case("must_know", {}, "ada", caller=ADA),
    Case("must_know", {}, error="unauthenticated", caller=BAD_TOKEN),
    Case("dependency_knows", {"authorization": _FORGED, "user": "eve"}, error="unauthenticated"),
    Case("dependency_knows", {"authorization": _FORGED}, "ada", caller=ADA),
    Case("dependency_knows", {}, error="unauthenticated", caller=BAD_TOKEN),
    Case("dependency_may_know", {"authorization": _FORGED, "user": "eve"}, None),
    Case("dependency_may_know", {"authorization": _FORGED}, "ada", caller=ADA),
    Case("dependency_may_know", {}, error="unauthenticated", caller=BAD_TOKEN),
    Case("caller_by_alias", {"who": _FORGED, "user": "eve"}, "the app's None"),
    Case("caller_by_alias", {"who": _FORGED}, "the app's ada", caller=ADA),
    Case("only_root", {}, error="unauthenticated"),
    Case("only_root", {}, error="forbidden", caller=ADA),
    Case("only_root", {}, "in", caller=ROOT),
    Case("only_root", {}, error="unauthenticated", caller=BAD_TOKEN),
    Case("closed", {}, error="unauthenticated"),
    Case("closed", {}, error="forbidden", caller=ROOT),
    Case("owned", {"owner": "ada"}, error="unauthenticated"),
    Case("owned", {"owner": "ada"}, "in", caller=ADA),
    Case("owned", {"owner": "bob"}, error="forbidden", caller=ADA),
    Case("owned", {"owner": "bob"}, "in", caller=ROOT),
    Case("add", {"a": 1}, 3, caller=BAD_TOKEN),
    Case("has_context", {"context": "forged"}, True),
    Case("stream", {"upto": 3}, [0, 1, 2]),
    Case("stream", {"upto": 0}, []),
    Case("stream", {"upto": "x"}, error="invalid_params"),
]  # fmt: skip
