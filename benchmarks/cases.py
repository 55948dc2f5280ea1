"""The requests that every peer answers, with the same bytes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from benchmarks.peers.model import SECRET

STANDARD = ("fastapi", "servey", "starlette", "litestar", "blacksheep", "raw")


PAIR = ("fastapi", "servey")
TRIO = (*PAIR, "litestar")
FRAMEWORKS = (*TRIO, "blacksheep")
"""Those that can say it: BlackSheep has no dependencies with parameters and no cache, and Litestar no ETags."""

BROWSER = (
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"),
    (b"accept-language", b"en-GB,en;q=0.9,de;q=0.8"),
    (b"accept-encoding", b"identity"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-site", b"same-origin"),
    (b"referer", b"http://127.0.0.1/"),
    (b"cookie", b"theme=dark; session=0123456789abcdef"),
)
"""What a browser sends with every request, without compression, which FastAPI leaves to a middleware."""


def json_lines(body: bytes) -> list[Any]:
    """The items of a stream of JSON lines."""
    return [json.loads(line) for line in body.splitlines() if line]


def sse_data(body: bytes) -> list[Any]:
    """The data of a stream of server-sent events."""
    return [json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data:")]


def without_token(body: bytes) -> Any:
    """The value of a response of the RealWorld example, whose tokens differ."""
    value = json.loads(body)
    value.get("user", {}).pop("token", None)
    return value


@dataclass(frozen=True)
class Case:
    """One request; ``what`` describes it, and the other ``peers`` are compared with the first one.

    ``read`` parses a body, to check that all peers answer alike. With ``revalidates`` the request sends the ETag of an
    earlier response; a peer that sends no ETag answers with the whole body again.
    """

    name: str
    what: str
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    peers: tuple[str, ...] = STANDARD
    status: int = 200
    content_type: bytes = b"application/json"
    read: Callable[[bytes], Any] = json.loads
    revalidates: bool = False
    behind_server: bool = True

    @property
    def sent_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of the request, without those that every client sends."""
        return [*self.headers, *([(b"content-type", self.content_type)] if self.body else [])]

    @property
    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers, as a browser sends them."""
        found = [(b"host", b"127.0.0.1"), *BROWSER, *self.headers]
        if b"accept" not in dict(self.headers):
            found.append((b"accept", b"*/*"))
        if self.body:
            found += [(b"content-type", self.content_type), (b"content-length", str(len(self.body)).encode())]
        return found


ORDER = {
    "order": {
        "customer": "Ada Lovelace",
        "lines": [{"sku": f"sku-{number}", "quantity": number + 1, "price": 9.5} for number in range(20)],
    }
}

TOKEN = jwt.encode({"sub": "ada", "scope": "root", "exp": 4102444800}, SECRET, algorithm="HS256")
BEARER = ((b"authorization", f"Bearer {TOKEN}".encode()),)
SINCE = "since=2026-01-01T00%3A00%3A00Z&limit=5"

MEMBER = jwt.encode({"sub": "1", "exp": 4102444800}, SECRET, algorithm="HS256")
CONDUIT = (
    ("tags", "(s) RealWorld: tags", "/api/tags"),
    ("user", "(t) RealWorld: the current user", "/api/user"),
    ("articles", "(u) RealWorld: 20 articles", "/api/articles"),
    ("feed", "(v) RealWorld: the feed", "/api/articles/feed"),
)
"""Requests of `examples/conduit`, which reads a database for each."""

FORM = b"multipart/form-data; boundary=limit"
UPLOAD = b"".join(
    (
        b'--limit\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n',
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n',
        b"Content-Type: application/octet-stream\r\n\r\n",
        bytes(1_000_000),
        b"\r\n--limit--\r\n",
    )
)

URLENCODED: dict[str, Any] = {"content_type": b"application/x-www-form-urlencoded"}
NO_BODY: dict[str, Any] = {"read": lambda body: None}
"""The bodies differ: each framework has errors of its own, and in-process FastAPI sends a body to HEAD, which its server
drops.
"""

CASES = {
    case.name: case
    for case in (
        Case("text", "(a) GET one string", "GET", "/actions/hello", "name=World", peers=(*STANDARD, "promises")),
        Case(
            "order",
            "(b) POST a nested order with 20 lines",
            "POST",
            "/actions/place-order",
            body=json.dumps(ORDER).encode(),
        ),
        Case("list", "(c) GET 100 models, different each time", "GET", "/actions/list-users"),
        Case("path", "(d) path, enum, datetime, optional query", "GET", "/items/tools/7", SINCE),
        Case(
            "token",
            "(e) guarded by a token",
            "GET",
            "/actions/who",
            headers=BEARER,
            peers=(*STANDARD, "fastapi_cached", "servey_uncached"),
        ),
        Case(
            "text-def",
            "(f) the same as (a), as a plain def",
            "GET",
            "/actions/hello-def",
            "name=World",
            peers=(*STANDARD, "servey_in_place"),
        ),
        Case(
            "middleware",
            "(a) with a user's middleware",
            "GET",
            "/actions/hello",
            "name=World",
            peers=("fastapi_middleware", "servey_middleware"),
        ),
        Case("awaits", "(g) a function that awaits once", "GET", "/actions/awaits", "name=World", peers=FRAMEWORKS),
        Case("depends", "(h) `Depends` on an async function", "GET", "/actions/depends", "name=World", peers=TRIO),
        Case(
            "session", "(i) `Depends` on `yield` with a sub-dependency", "GET", "/actions/session", "id=7", peers=TRIO
        ),
        *(
            Case(name, what, "GET", f"/actions/{name}", query, peers=peers, behind_server=False)
            for name, what, query, peers in (
                ("header", "(j) `Header()` and `Cookie()` parameters", "", FRAMEWORKS),
                ("hash", "(k) `SecureHashCacheControl`", "name=World", PAIR),
                ("twenty", "(l) 20 models with a float", "", FRAMEWORKS),
                ("dicts", "(m) 1,000 dicts as models", "", PAIR),
            )
        ),
        Case(
            "not-modified",
            "(n) the 304 of (k)",
            "GET",
            "/actions/hash",
            "name=World",
            peers=PAIR,
            behind_server=False,
            revalidates=True,
        ),
        Case(
            "ttl",
            "(o) `TtlCacheControl`, a hit",
            "GET",
            "/actions/ttl",
            "name=World",
            peers=(*TRIO, "fastapi_cache"),
            behind_server=False,
        ),
        Case(
            "lines",
            "(p) 1,000 JSON lines",
            "GET",
            "/actions/lines",
            peers=FRAMEWORKS,
            behind_server=False,
            read=json_lines,
        ),
        Case(
            "sse",
            "(q) 1,000 server-sent events",
            "GET",
            "/actions/sse",
            headers=((b"accept", b"text/event-stream"),),
            peers=FRAMEWORKS,
            behind_server=False,
            read=sse_data,
        ),
        Case(
            "upload",
            "(r) a file of 1 MB and a form field",
            "POST",
            "/actions/upload",
            body=UPLOAD,
            peers=FRAMEWORKS,
            behind_server=False,
            content_type=FORM,
        ),
        *(
            Case(name, f"({letter}) {what}", method, path, query, body, peers=PAIR, behind_server=False, **more)
            for letter, name, what, method, path, query, body, more in (
                ("aa", "form", "two fields of a form", "POST", "/actions/form", "", b"name=Ada&age=36", URLENCODED),
                (
                    "ab",
                    "part",
                    "a body that FastAPI injects",
                    "POST",
                    "/actions/part",
                    "",
                    json.dumps(ORDER).encode(),
                    {},
                ),
                ("ac", "search", "a model of query parameters", "GET", "/actions/search", "text=ada&limit=5", b"", {}),
                ("ad", "page", "a `Page` of 20 models", "GET", "/actions/page", "", b"", {}),
                ("ae", "head", "HEAD of (a)", "HEAD", "/actions/hello", "name=World", b"", NO_BODY),
                (
                    "af",
                    "prefer",
                    "(a) with a `Prefer` that has no effect",
                    "GET",
                    "/actions/hello",
                    "name=World",
                    b"",
                    {"headers": ((b"prefer", b"return=minimal"),)},
                ),
                ("ag", "image", "a `Response` of 1 KB", "GET", "/actions/image", "", b"", {"read": len}),
                ("ah", "background", "a background task", "POST", "/actions/background", "", b'{"name": "Ada"}', {}),
                ("ai", "cancelled", "`cancel_on_disconnect`", "GET", "/actions/cancelled", "name=World", b"", {}),
                (
                    "aj",
                    "raises",
                    "an `HTTPException`",
                    "GET",
                    "/actions/raises",
                    "name=World",
                    b"",
                    NO_BODY | {"status": 404},
                ),
                ("ak", "invalid", "a 422", "GET", "/items/tools/seven", SINCE, b"", NO_BODY | {"status": 422}),
                (
                    "al",
                    "awaited-lines",
                    "(p), awaiting before each line",
                    "GET",
                    "/actions/awaited-lines",
                    "",
                    b"",
                    {"read": json_lines},
                ),
            )
        ),
        *(
            Case(
                name,
                what,
                "GET",
                path,
                headers=((b"authorization", f"Token {MEMBER}".encode()),),
                peers=("conduit_fastapi", "conduit_servey"),
                read=without_token,
            )
            for name, what, path in CONDUIT
        ),
    )
}
