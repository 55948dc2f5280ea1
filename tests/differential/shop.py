# ruff: noqa: B006 - defaults as users write them
"""Actions of every kind that a route can be, each with the request parts that it takes, and their FastAPI twins.

`EVENTS` is where all of them tell what they saw, which is how two forms of a route are held to the same side effects.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, field_validator
from starlette.responses import PlainTextResponse
from typing_extensions import TypedDict

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
    WebTrigger,
    action,
)
from servey.access import AllOf
from servey.context import current_context

EVENTS: list[str] = []
VARIABLE: ContextVar[str] = ContextVar("differential_variable", default="unset")


def saw(what: str, *values: Any) -> None:
    EVENTS.append(f"{what} {values!r}")


class Size(Enum):
    small = "s"
    large = "l"


class Level(IntEnum):
    low = 1
    high = 2


class Point(BaseModel):
    x: int
    label: str = "none"


@dataclass
class Money:
    amount: Decimal
    currency: Literal["EUR", "USD"] = "EUR"


class Line(BaseModel):
    sku: str = Field(max_length=8)
    quantity: int = Field(ge=1)
    price: float = 0


class Order(BaseModel):
    customer: str
    lines: list[Line]
    due: date | None = None
    size: Size = Size.small
    tags: dict[str, int] = {}


class Plain(BaseModel):
    id: int
    name: str
    at: datetime
    active: bool = True
    note: str | None = None
    sizes: list[Size] = []
    point: Point | None = None


class Secret(Plain):
    password: str = "secret"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    number: int


class Careful(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def told(cls, value: int) -> int:
        saw("validator", value)
        if value == 13:
            raise ValueError("unlucky")
        if value == 14:
            raise RuntimeError("broken validator")
        return value


class Named(TypedDict):
    first: str
    last: str


def even(value: int) -> int:
    if value % 2:
        raise ValueError("odd")
    return value


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


ACTIONS: list[Callable[..., Any]] = [
    value for value in list(globals().values()) if callable(value) and hasattr(value, "servey_action")
]


@dataclass(frozen=True)
class Part:
    """One parameter in a request: where it stands, values that fit, and values that do not."""

    name: str
    good: tuple[Any, ...]
    bad: tuple[Any, ...] = ()
    where: str = "query"
    optional: bool = True


@dataclass(frozen=True)
class Kind:
    """How the requests of an action look; ``twin`` says that FastAPI answers them as we do."""

    method: str
    path: str
    parts: tuple[Part, ...] = ()
    guarded: bool = False
    twin: bool = True
    extras: tuple[str, ...] = field(default=())


def query(name: str, *good: Any, bad: tuple[Any, ...] = (), optional: bool = True) -> Part:
    return Part(name, good, bad, "query", optional)


def body(name: str, *good: Any, bad: tuple[Any, ...] = (), optional: bool = True) -> Part:
    return Part(name, good, bad, "body", optional)


def path(name: str, *good: Any, bad: tuple[Any, ...] = ()) -> Part:
    return Part(name, good, bad, "path", optional=False)


ORDER = {
    "customer": "Ada",
    "lines": [{"sku": "a", "quantity": 2, "price": 1.5}, {"sku": "b", "quantity": 1}],
    "due": "2026-02-03",
    "size": "l",
    "tags": {"x": 1},
}
BAD_ORDERS = (
    {},
    [],
    None,
    "x",
    {**ORDER, "size": "xxl"},
    {**ORDER, "lines": [{"sku": "toolongasku", "quantity": 0}]},
    {**ORDER, "due": "yesterday"},
    {**ORDER, "tags": {"x": "one"}},
)
GOOD_ORDERS = (
    ORDER,
    {"customer": "ä\u2028", "lines": []},
    {**ORDER, "lines": [{"sku": "x", "quantity": "3", "price": 1e16}, {"sku": "y", "quantity": 1.0, "price": 1e-7}]},
    {**ORDER, "unknown": 1, "due": None},
    {**ORDER, "due": 1700006400},
)

KINDS = (
    Kind(
        "GET", "/actions/text", (query("name", "World", "", "a b", "ä+%&=#", "true", "\u2028", "a.b", optional=False),)
    ),
    Kind(
        "GET",
        "/actions/scalars",
        (
            query("a", "1", "-7", "1_000", " 3 ", "9" * 30, "2.0", bad=("x", "", "1.5", "9" * 5000), optional=False),
            query("b", "1", "2.5", "1e5", "-0.0", bad=("x", "nan", "inf", "Infinity")),
            query("c", "true", "0", "yes", "off", bad=("maybe", "2", "")),
            query("d", "2026-01-02", "1700006400", bad=("2026-13-01", "x")),
            query("e", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+02:00", "1700000000", bad=("x", "2026-01-02T99")),
            query("f", "03:04", "03:04:05.5", bad=("25:00",)),
            query("g", "P1DT2H", "3.5", bad=("long",)),
            query("h", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", bad=("6ba7",)),
            query("i", "1.50", "1e3", bad=("x", "NaN")),
        ),
    ),
    Kind(
        "GET",
        "/actions/choices",
        (
            query("size", "s", "l", bad=("m", "", "small"), optional=False),
            query("level", "1", "2", bad=("3", "low")),
            query("kind", "a", "b", bad=("c", "3")),
            query("both", "1", "x", "1.0"),
        ),
        twin=False,
    ),
    Kind(
        "GET",
        "/actions/lists",
        (
            query("numbers", ["1"], ["1", "2", "3"], bad=(["x"], ["1", "x"]), optional=False),
            query("words", ["a"], ["", "b,c"]),
            query("unique", ["1", "1", "2"], bad=(["x"],)),
            query("pair", ["1", "a"], bad=(["1"], ["1", "2", "3"])),
        ),
        twin=False,
    ),
    Kind(
        "GET",
        "/actions/nested",
        (
            query("p.x", "1", "2", bad=("x",), optional=False),
            query("p.label", "hey", ""),
            query("q.x", "5", bad=("y",)),
            query("p", bad=("plain",)),
        ),
        twin=False,
    ),
    Kind(
        "GET",
        "/actions/limited",
        (
            query("limit", "1", "100", bad=("0", "101", "x")),
            query("X-word", "ab", "abcd", bad=("a", "abcde")),
            query("word", "ignored"),
            query("number", "4", bad=("3",)),
            query("one", "1"),
            query("other", "2"),
        ),
        twin=False,
    ),
    Kind(
        "GET",
        "/items/{size}/{id}",
        (
            path("size", "s", "l", bad=("m", "s%20", "%F0%9F%98%80")),
            path("id", "1", "-2", "007", bad=("x", "1.5", "%00", "%FF", "special")),
            query("since", "2026-01-02T03:04:05Z", bad=("x",)),
            query("limit", "5", bad=("x",)),
            query("id", "9"),
        ),
        twin=False,
    ),
    Kind("GET", "/items/{day}/special", (path("day", "2026-01-02", bad=("s", "x")),), twin=False),
    Kind(
        "PUT",
        "/items/{id}",
        (
            path("id", "1", "2", bad=("x",)),
            body("order", *GOOD_ORDERS, bad=BAD_ORDERS, optional=False),
            query("dry", "true", "0", bad=("x",)),
            body("id", 5),
            query("order", "x"),
            body("dry", True),
        ),
        twin=False,
    ),
    Kind("DELETE", "/items/{id}", (path("id", "1", bad=("x",)), query("id", "2"))),
    Kind("POST", "/actions/nothing", (body("x", 1),)),
    Kind("POST", "/actions/order", (body("order", *GOOD_ORDERS, bad=BAD_ORDERS, optional=False),)),
    Kind(
        "POST",
        "/actions/mixed",
        (
            body("numbers", [], [1, 2], ["3"], bad=(None, 1, ["x"], [1.5]), optional=False),
            body("money", {"amount": "1.50"}, {"amount": 2, "currency": "USD"}, None, bad=({"amount": "x"}, {})),
            body("name", {"first": "a", "last": "b"}, bad=({"first": 1},)),
            body("anything", None, 1, [1.5, {"x": None}], "text"),
            body("both", 1, "x", 1.0),
        ),
    ),
    Kind(
        "POST",
        "/actions/loose",
        (
            body("anything", 1, "x", [1, {"a": 1}], None, 1 << 70, 1e300, bad=(math.nan, [math.inf])),
            body("numbers", [1, 1.5], [], bad=(["x"], 1)),
        ),
        twin=False,
    ),
    Kind(
        "POST",
        "/actions/strict",
        (body("it", bad=({"day": "2026-01-02", "number": 1}, {"day": "x", "number": "1"}, {}), optional=False),),
    ),
    Kind(
        "POST",
        "/actions/careful",
        (body("it", {"number": 1}, {"number": "2"}, bad=({"number": 13}, {"number": "x"}, {}), optional=False),),
    ),
    Kind(
        "POST",
        "/actions/small",
        (body("text", "a", "ä", "x" * 100, bad=(1, None), optional=False), body("by", "b")),
        twin=False,
    ),
    Kind(
        "GET",
        "/actions/plain",
        (
            query(
                *("how", "full", "none", "sub", "big", "wrong", "inside", "missing", "more", "unreadable"),
                *("dict", "bad"),
                optional=False,
            ),
        ),
        twin=False,
    ),
    Kind(
        "GET",
        "/actions/many",
        (query("count", "0", "1", "3", bad=("x",), optional=False), query("of", "plain", "secret")),
    ),
    Kind("GET", "/actions/with-default", (query("price", "1", "2.5", "1e16", "1e-7", bad=("x",)),)),
    Kind(
        "GET",
        "/actions/fails",
        (
            query(
                *("how", "no", "missing", "conflict", "forbidden", "own", "http", "invalid", "handled", "odd"),
                *("cancelled", "time", "wrong", "response"),
                optional=False,
            ),
        ),
        twin=False,
    ),
    Kind(
        "GET",
        "/actions/waits",
        (query("seconds", "0", "0.001", "0", "5", bad=("x",), optional=False), query("how", "swallow", "replace")),
        twin=False,
    ),
    Kind("GET", "/actions/context", (query("name", "x"), query("context", "forged")), guarded=True, twin=False),
    Kind(
        "GET",
        "/actions/in-thread",
        (query("name", "x", "ä", optional=False), query("how", "missing", "stop")),
        twin=False,
    ),
    Kind("GET", "/actions/in-place", (query("number", "1", "7", bad=("x",), optional=False),), twin=False),
    Kind("GET", "/actions/scoped", (query("number", "1", bad=("x",), optional=False),), guarded=True, twin=False),
    Kind("POST", "/actions/told", (body("number", 1, "2", bad=("x",), optional=False),), guarded=True, twin=False),
    Kind(
        "POST",
        "/actions/owned",
        (body("owner", "ada", "bob", bad=(1,), optional=False), body("number", 1, bad=("x",))),
        guarded=True,
        twin=False,
    ),
    Kind("GET", "/actions/both-rules", (query("owner", "ada", "bob", optional=False),), guarded=True, twin=False),
    Kind("GET", "/actions/closed", (), guarded=True, twin=False),
    Kind(
        "GET",
        "/actions/who",
        (query("number", "1", bad=("x",)), query("authorization", "forged")),
        guarded=True,
        twin=False,
    ),
    Kind("GET", "/actions/maybe", (), guarded=True, twin=False),
    Kind("GET", "/actions/injected", (query("number", "1", bad=("x",), optional=False),), twin=False),
    Kind("GET", "/actions/stream", (query("count", "0", "2", bad=("x",), optional=False),), twin=False),
)
