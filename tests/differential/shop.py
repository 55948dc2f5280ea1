# ruff: noqa: B006 - defaults as users write them
"""Actions of every kind that a route can be.

All of them record in `EVENTS` what they saw, so that two forms of a route must have the same side effects.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, AliasChoices, Field
from starlette.responses import PlainTextResponse

from servey import (
    ALLOW_NONE,
    WEB_GET,
    WEB_POST,
    ActionError,
    Authorization,
    Conflict,
    Context,
    Forbidden,
    NotFound,
    ScopeAccessControl,
    SecureHashCacheControl,
    WebTrigger,
    action,
)
from servey.core.access import AllOf
from servey.core.context import current_context
from tests.differential.shop_types import (
    VARIABLE,
    Careful,
    Level,
    Line,
    Money,
    Named,
    Order,
    Plain,
    Point,
    Secret,
    Size,
    Strict,
    even,
    saw,
)


def tells(authorization: Authorization | None) -> bool:
    saw("early rule", authorization and authorization.subject_id)
    return authorization is not None


async def owns(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    saw("late rule", authorization and authorization.subject_id, params)
    return authorization is not None and authorization.subject_id == params["owner"]


@action(triggers=WEB_GET)
async def text(name: str) -> str:
    saw("text", name)
    return f"Hello {name}!"


@action(triggers=WEB_GET)
async def scalars(
    a: int,
    b: float = 1.5,
    c: bool = False,
    d: date | None = None,
    e: datetime | None = None,
    f: time | None = None,
    g: timedelta | None = None,
    h: UUID | None = None,
    i: Decimal = Decimal("0.1"),
) -> dict[str, str]:
    saw("scalars", a, b, c, d, e, f, g, h, i)
    return {"all": repr((a, b, c, d, e, f, g, h, i))}


@action(triggers=WEB_GET)
async def choices(
    size: Size, level: Level = Level.low, kind: Literal["a", "b", 3] = "a", both: int | str = 0
) -> list[str]:
    saw("choices", size, level, kind, both)
    return [repr(size), repr(level), repr(kind), repr(both)]


@action(triggers=WEB_GET)
async def lists(
    numbers: list[int], words: list[str] = [], unique: set[int] = set(), pair: tuple[int, str] = (0, "")
) -> str:
    saw("lists", numbers, words, sorted(unique), pair)
    return repr((numbers, words, sorted(unique), pair))


@action(triggers=WEB_GET)
async def nested(p: Point, q: Point | None = None) -> Point:
    saw("nested", p, q)
    return p


@action(triggers=WEB_GET)
async def limited(
    limit: Annotated[int, Field(ge=1, le=100)] = 10,
    word: Annotated[str, Field(min_length=2, max_length=4, alias="X-word")] = "abc",
    number: Annotated[int, AfterValidator(even)] = 2,
    either: Annotated[str, Field(validation_alias=AliasChoices("one", "other"))] = "x",
) -> list[Any]:
    saw("limited", limit, word, number, either)
    return [limit, word, number, either]


@action(triggers=WebTrigger("GET", "/items/{size}/{id}"))
async def by_path(size: Size, id: int, since: datetime | None = None, limit: int = 10) -> tuple[Size, int, str, int]:
    saw("by_path", size, id, since, limit)
    return size, id, str(since), limit


@action(triggers=WebTrigger("GET", "/items/{day}/special"))
async def by_day(day: date) -> date:
    saw("by_day", day)
    return day


@action(triggers=WebTrigger("PUT", "/items/{id}"))
async def put(id: int, order: Order, dry: Annotated[bool, Query()] = False) -> Order:
    saw("put", id, order, dry)
    return order


@action(triggers=WebTrigger("DELETE", "/items/{id}"))
async def remove(id: int) -> None:
    saw("remove", id)


@action(triggers=WEB_POST)
async def nothing() -> None:
    saw("nothing")


@action(triggers=WEB_POST)
async def order(order: Order) -> Order:
    saw("order", order)
    return order


@action(triggers=WEB_POST)
async def mixed(
    numbers: list[int], money: Money | None = None, name: Named | None = None, anything: Any = None, both: int | str = 0
) -> str:
    saw("mixed", numbers, money, name, anything, both)
    return repr((numbers, money, name, anything, both))


@action(triggers=WEB_POST)
async def loose(anything: Any = None, numbers: list[float] = []) -> Any:
    saw("loose", anything, numbers)
    return anything


@action(triggers=WEB_POST)
async def strict(it: Strict) -> Strict:
    saw("strict", it)
    return it


@action(triggers=WEB_POST)
async def careful(it: Careful) -> Careful:
    saw("careful", it)
    return it


@action(triggers=WEB_POST, max_body_bytes=64)
async def small(text: str, by: str = "") -> str:
    saw("small", text, by)
    return text + by


@action(triggers=WEB_GET)
async def plain(how: str) -> Plain | None:
    saw("plain", how)
    made = Plain(id=1, name='a "b" \u2028 ä', at=datetime.fromisoformat("2026-01-02T03:04:05.678+02:00"))
    match how:
        case "none":
            return None
        case "sub":
            return Secret(id=2, name="x", at=made.at)
        case "big":
            made.id = 1 << 70
        case "wrong":
            made.name = b"bytes"  # type: ignore[assignment]
        case "inside":
            made.point = Point(x=1, label="ä")
        case "missing":
            del made.note
        case "more":
            made.__dict__["more"] = 1
        case "unreadable":
            made.name = "\ud800"
        case "dict":
            return {"id": "3", "name": "y", "at": made.at}  # type: ignore[return-value]
        case "bad":
            return {"id": "x"}  # type: ignore[return-value]
    return made


@action(triggers=WEB_GET)
async def many(count: int, of: str = "plain") -> list[Plain]:
    saw("many", count, of)
    cls = Secret if of == "secret" else Plain
    return [cls(id=each, name=f"n{each}", at=datetime(2026, 1, 1), sizes=[Size.large]) for each in range(count)]


@action(triggers=WEB_GET)
async def with_default(price: float | None = None) -> Line:
    saw("with_default", price)
    return Line(sku="x", quantity=1) if price is None else Line(sku="x", quantity=1, price=price)


@action(triggers=WEB_GET)
async def fails(how: str) -> str:
    saw("fails", how)
    match how:
        case "missing":
            raise NotFound("gone")
        case "conflict":
            raise Conflict()
        case "forbidden":
            raise Forbidden()
        case "own":
            raise ActionError(418, "teapot", {"short": True}, headers={"X-Tea": "green"})
        case "http":
            raise HTTPException(409, "by FastAPI", {"X-Why": "because"})
        case "invalid":
            raise RequestValidationError([{"type": "own", "loc": ["query", "z"], "msg": "no", "input": 1}])
        case "handled":
            raise LookupError("handled by the app")
        case "odd":
            raise RuntimeError("secret")
        case "cancelled":
            raise asyncio.CancelledError
        case "time":
            raise TimeoutError("its own")
        case "wrong":
            return 7  # type: ignore[return-value]
        case "response":
            return PlainTextResponse("whole", 203, {"X-Whole": "1"})  # type: ignore[return-value]
    return how


@action(triggers=WEB_GET, timeout=0.1)
async def waits(seconds: float, how: str = "") -> str:
    saw("waits", seconds, how)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        saw("cancelled")
        if how == "swallow":
            return "late"
        if how == "replace":
            raise KeyError("late") from None
        raise
    return "done"


@action(triggers=WEB_GET)
async def context(context: Context, name: str = "") -> list[Any]:
    running = asyncio.get_running_loop()
    assert current_context() is context
    saw("context", name, context.via, context.deadline is not None and 14 < context.deadline - running.time() < 15.1)
    try:
        who = context.authorization
    except ActionError as error:
        return [error.code, context.request_id]
    return [who and who.subject_id, context.token is not None, context.request_id]


@action(triggers=WEB_GET)
def in_thread(name: str, how: str = "") -> str:
    saw("in_thread", name, VARIABLE.get(), current_context().via)
    if how == "missing":
        raise NotFound()
    if how == "stop":
        raise StopIteration
    return name


@action(triggers=WEB_GET, blocking=False)
def in_place(number: int) -> Any:
    saw("in_place", number, current_context().via)
    if number == 7:

        async def later() -> int:
            await asyncio.sleep(0)
            return 7

        return later()
    return -number


@action(triggers=WEB_GET, access_control=ScopeAccessControl("admin"))
async def scoped(number: int) -> int:
    saw("scoped", number)
    return number


@action(triggers=WEB_POST, access_control=tells)
async def told(number: int) -> int:
    saw("told", number)
    return number


@action(triggers=WEB_POST, access_control=owns)
async def owned(owner: str, number: int = 0) -> str:
    saw("owned", owner, number)
    return owner


@action(triggers=WEB_GET, access_control=AllOf((ScopeAccessControl("admin"), owns)))
async def both_rules(owner: str) -> str:
    saw("both_rules", owner)
    return owner


@action(triggers=WEB_GET, access_control=ALLOW_NONE)
async def closed() -> str:
    return "never"


@action(triggers=WEB_GET)
async def who(authorization: Authorization, number: int = 0) -> str | None:
    saw("who", authorization.subject_id, number)
    return authorization.subject_id


@action(triggers=WEB_GET)
async def maybe(authorization: Authorization | None) -> str | None:
    saw("maybe", authorization and authorization.subject_id)
    return authorization and authorization.subject_id


async def opened() -> AsyncIterator[str]:
    saw("opened")
    yield "open"
    saw("closed")


@action(triggers=WEB_GET)
async def injected(it: Annotated[str, Depends(opened)], request: Request, response: Response, number: int) -> str:
    saw("injected", it, request.method, number)
    response.headers["X-Number"] = str(number)
    return it


@action(triggers=WEB_GET)
async def stream(count: int) -> AsyncIterator[int]:
    saw("stream", count)
    for number in range(count):
        yield number


@action(triggers=WEB_GET, cache_control=SecureHashCacheControl())
async def hashed(name: str) -> str:
    saw("hashed", name)
    return name


ACTIONS: list[Callable[..., Any]] = [
    value for value in list(globals().values()) if callable(value) and hasattr(value, "servey_action")
]
