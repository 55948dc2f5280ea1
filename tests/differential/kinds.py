"""The parameters that each action of `shop` takes in a request, with valid and invalid values."""

import math
from dataclasses import dataclass, field
from typing import Any


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
    Kind("GET", "/actions/hashed", (query("name", "a", "b" * 3000, optional=False),), twin=False),
    Kind("GET", "/actions/stream", (query("count", "0", "2", bad=("x",), optional=False),), twin=False),
)
