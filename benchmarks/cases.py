"""The requests that every peer answers, with the same bytes."""

import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One request; ``what`` says it in words."""

    name: str
    what: str
    method: str
    path: str
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())

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

CASES = {
    case.name: case
    for case in (
        Case("text", "GET one string", "GET", "/actions/hello", "name=World"),
        Case("text-def", "the same, as a plain def", "GET", "/actions/hello-def", "name=World"),
        Case(
            "order",
            "POST a nested order with 20 lines",
            "POST",
            "/actions/place-order",
            body=json.dumps(ORDER).encode(),
        ),
        Case("list", "GET 100 objects of 5 fields", "GET", "/actions/list-users"),
        Case(
            "path",
            "path, enum, date and optional query",
            "GET",
            "/items/tools/7",
            "since=2026-01-01T00%3A00%3A00Z&limit=5",
        ),
    )
}
