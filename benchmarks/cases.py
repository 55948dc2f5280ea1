"""The requests that every peer answers, with the same bytes."""

import json
from dataclasses import dataclass, field

import jwt

from benchmarks.peers.model import SECRET

STANDARD = ("fastapi", "servey", "starlette", "litestar", "blacksheep", "raw")


@dataclass(frozen=True)
class Case:
    """One request; ``what`` says it in words, ``peers`` are those that answer it, the first one being what the others are
    measured by."""

    name: str
    what: str
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    peers: tuple[str, ...] = STANDARD

    @property
    def sent_headers(self) -> list[tuple[bytes, bytes]]:
        """What a client says of itself, but for what its library says."""
        return [*self.headers, *([(b"content-type", b"application/json")] if self.body else [])]

    @property
    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """What a client sends along."""
        found = [(b"host", b"127.0.0.1"), (b"accept", b"*/*"), *self.headers]
        if self.body:
            found += [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
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
        Case("list", "(c) GET 100 models, others each time", "GET", "/actions/list-users"),
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
            "(a) under a middleware of the user's",
            "GET",
            "/actions/hello",
            "name=World",
            peers=("fastapi_middleware", "servey_middleware"),
        ),
    )
}
