"""Random requests, GraphQL documents and websocket frames, odd ones among them."""

import json
import random
from typing import Any

TEXTS = [
    "",
    "a",
    "null",
    "-1",
    "1e999",
    "9" * 400,
    "%00",
    "%ff%fe",
    "\u2603",
    "../..",
    "a=b&c",
    "[",
    "{}",
    "true",
    "NaN",
    "²",
]

VALUES: list[Any] = [
    None,
    True,
    -1,
    0.5,
    10**30,
    "x",
    "\ud800",
    "a" * 5000,
    [],
    {},
    [[]] * 50,
    {"$ref": "#"},
    {"": None},
]

HEADERS = [
    (b"accept", b"text/html"),
    (b"accept", b"text/event-stream"),
    (b"accept", b"\xff;q=nan"),
    (b"accept-encoding", b"gzip;q=1e9, br"),
    (b"authorization", b"Bearer " + b"a.b.c"),
    (b"authorization", b"Bearer \xff\x00"),
    (b"content-length", b"\xb2"),
    (b"content-type", b"application/x-www-form-urlencoded"),
    (b"content-type", b"multipart/form-data; boundary=x"),
    (b"content-type", b"application/json; charset=punycode"),
    (b"content-type", b"multipart/form-data"),
    (b"cookie", b"token=x; =; ;;a"),
    (b"if-none-match", b'W/"x", "'),
    (b"if-modified-since", b"Thu, 99 Foo 0000 99:99:99 GMT"),
    (b"last-event-id", b"9-9-9"),
    (b"origin", b"https://evil.example"),
    (b"prefer", b"respond-async, wait=-1"),
    (b"range", b"bytes=9-1,-0"),
    (b"traceparent", b"00-zz-1-"),
    (b"x-request-id", b"\x01" * 300),
]


def scope_of(kind: str, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "subprotocols": [],
    }


def any_json(generator: random.Random, depth: int = 0) -> Any:
    if depth > 3 or generator.random() < 0.4:
        return generator.choice(VALUES)
    if generator.random() < 0.5:
        return [any_json(generator, depth + 1) for _ in range(generator.randrange(4))]
    return {generator.choice(["id", "text", "items", "a", "__proto__"]): any_json(generator, depth + 1) for _ in "abc"}


def any_request(generator: random.Random, document: dict[str, Any], token: bytes) -> tuple[dict[str, Any], bytes]:
    """A request for a documented path, with some parts right and others not."""
    path = generator.choice(
        [*document["paths"], "/graphql", "/subscription/chat", "/login", "/jobs/x", "/%2e%2e/x", "//x"]
    )
    operations = document["paths"].get(path, {})
    method = generator.choice(
        [*[each.upper() for each in operations for _ in range(8)], "GET", "POST", "HEAD", "OPTIONS"]
    )
    operation = operations.get(method.lower(), {})
    names = [each["name"] for each in operation.get("parameters", ()) if "name" in each] or ["x"]
    for name in names:
        path = path.replace("{" + name + "}", generator.choice(["1", "x", *TEXTS]))
    pairs = [
        f"{generator.choice([*names, 'x.y', 'x[0]'])}={generator.choice(TEXTS)}" for _ in range(generator.randrange(4))
    ]
    headers = [generator.choice(HEADERS) for _ in range(generator.randrange(4))]
    if generator.random() < 0.5:
        headers.append((b"authorization", token))
    if generator.random() < 0.7:
        headers.append((b"content-type", b"application/json"))
    body = json.dumps(any_json(generator)).encode()
    odd = generator.random()
    if odd < 0.02:
        body = b'{"items":[' + b'{"a":"x"},' * 30_000 + b"{}]}"
    elif odd < 0.2:
        body = body[: generator.randrange(len(body) + 1)] + generator.randbytes(generator.randrange(9))
    return scope_of("http", method, path, "&".join(pairs).encode("utf-8"), headers), body


PIECES = [
    *"{}()[]:!$@|&=,",
    *("query", "mutation", "subscription", "fragment F on Query", "...F", "... on Product", "__typename", "__schema"),
    *("browse", "makeBasket", "product", "name", "similar(limit: 2)", "stars", "types", "fields", "products: [1, 2]"),
    *("$x: Int", "@skip(if: $x)", "@include(if: true)", '"\\ud800"', '"""b"""', "1e400", "null", "a: browse", "\ufeff"),
]

GOOD = "{ browse(department: garden) { product { name } stars similar(limit: 2) { product { name } } } }"

TREE = [
    "{ browse(department: garden) { %s } }",
    "{ a: browse(department: books) { %s %s } }",
    "query Q { browse(department: kitchen) { %s } }",
]


def any_document(generator: random.Random) -> str:
    kind = generator.random()
    if kind < 0.3:
        return " ".join(generator.choices(PIECES, k=generator.randrange(1, 40)))
    if kind < 0.6:
        words = GOOD.split()
        for _ in range(generator.randrange(1, 4)):
            words.insert(generator.randrange(len(words)), generator.choice(PIECES))
        return " ".join(words)
    if kind < 0.65:
        return "{ " + " ".join(f"a{number}: browse {{ stars }}" for number in range(generator.randrange(400))) + " }"
    fields = "stars product { id name }"
    for _ in range(generator.randrange(30 if kind < 0.7 else 3)):
        fields = f"similar(limit: {generator.randrange(-1, 5)}) {{ {fields} }}"
    tree = generator.choice(TREE)
    return tree % tuple([fields] * tree.count("%s"))


def any_frame(generator: random.Random) -> dict[str, Any]:
    kinds = [
        "Subscribe",
        "Unsubscribe",
        "Authorize",
        "Publish",
        "connection_init",
        "subscribe",
        "complete",
        "ping",
        "pong",
    ]
    payload = generator.choice(
        ["chat", "sales", {"query": "{ __typename }"}, {"query": any_document(generator)}, any_json(generator)]
    )
    message = {
        "type": generator.choice([*kinds, any_json(generator)]),
        "id": generator.choice(["1", "2", None, 5]),
        "payload": payload,
    }
    text = json.dumps(generator.choice([message, message, message, any_json(generator)]))
    odd = generator.random()
    if odd < 0.05:
        return {"type": "websocket.receive", "bytes": generator.randbytes(generator.randrange(200))}
    if odd < 0.1:
        text = text[: generator.randrange(len(text) + 1)]
    return {"type": "websocket.receive", "text": text}
