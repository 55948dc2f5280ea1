"""Requests made up from a seed: mostly such as fit, many with something wrong, some with something odd."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote, quote_plus

from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.core.access import Authorization
from tests.differential.kinds import KINDS, Kind, Part

SECRET = "differential-secret-of-32-bytes!"


def tokens() -> dict[str, str]:
    signer = JwtAuthorizer(OneKey(secret_key(SECRET)))
    return {
        "ada": signer.sign(Authorization("ada", frozenset({"admin"})), lifetime=3600),
        "bob": signer.sign(Authorization("bob"), lifetime=3600),
        "expired": signer.sign(Authorization("ada", frozenset({"admin"})), lifetime=-3600),
    }


@dataclass(frozen=True)
class Sent:
    """One request; ``comparable`` says that FastAPI has to answer it as we do."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    comparable: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}?{self.query!r} {self.headers} {self.body[:300]!r}"


def generated(seed: int, count: int) -> Iterator[Sent]:
    random = Random(seed)
    known = tokens()
    for number in range(count):
        yield _request(random, KINDS[number % len(KINDS)], known)


def _request(random: Random, kind: Kind, known: dict[str, str]) -> Sent:
    comparable = kind.twin
    wrong = random.random() < 0.3
    path, pairs, given = kind.path, list[tuple[str, str]](), dict[str, Any]()
    for part in kind.parts:
        if part.optional and random.random() < 0.5:
            continue
        if not part.optional and part.where != "path" and wrong and random.random() < 0.15:
            continue
        value = _value(random, part, wrong=wrong)
        if part.where == "path":
            path = path.replace("{" + part.name + "}", value)
        elif part.where == "body":
            given[part.name] = value
        else:
            pairs += [(part.name, each) for each in (value if isinstance(value, list) else [value])]
    if random.random() < 0.1:
        pairs.append((random.choice(("unknown", "a.b", "p.z", "")), "1"))
    if random.random() < 0.05 and pairs:
        pairs.append((pairs[0][0], random.choice(("2", "x"))))
    random.shuffle(pairs)
    quoting = random.choice((quote, quote_plus))
    query = "&".join(f"{quoting(name)}={quoting(value)}" for name, value in pairs).encode()
    body, headers = b"", [(b"host", b"test"), (b"accept", random.choice((b"*/*", b"application/json")))]
    if kind.method in ("POST", "PUT"):
        body = json.dumps(given, ensure_ascii=random.random() < 0.5, allow_nan=True).encode()
        headers.append((b"content-type", random.choice((b"application/json", b"application/json; charset=utf-8"))))
        headers.append((b"content-length", str(len(body)).encode()))
    if kind.guarded and random.random() < 0.8:
        name = random.choice(("ada", "ada", "bob", "expired", "nonsense", "basic"))
        shown = "Basic x" if name == "basic" else f"{random.choice(('Bearer', 'bearer'))} {known.get(name, name)}"
        headers.append((b"authorization", shown.encode()))
    method = kind.method
    if random.random() < 0.12:
        comparable = False
        odd = random.choice(ODDITIES[1:] if body else ODDITIES)
        method, path, query, body, headers = odd(random, method, path, query, body, headers)
    if method == "GET" and random.random() < 0.1:
        comparable, method = False, "HEAD"
    return Sent(method, path, query, tuple(headers), body, comparable)


def _value(random: Random, part: Part, *, wrong: bool) -> Any:
    if part.bad and (not part.good or (wrong and random.random() < 0.6)):
        return random.choice(part.bad)
    return random.choice(part.good)


def _odd_query(random: Random, method: str, path: str, query: bytes, body: bytes, headers: list[Any]) -> Any:
    tail = random.choice(
        (b"&&", b"&x", b"&=", b"%FF", b"&a=%ff", b"&%00=1", b"%", b"%zz", b"\xc3\xa4", b"\x00", b"&x=%u")
    )
    return method, path, random.choice((query + tail, tail + query)), body, headers


def _odd_body(random: Random, method: str, path: str, query: bytes, body: bytes, headers: list[Any]) -> Any:
    made = random.choice(
        (
            lambda: body[: random.randrange(len(body) + 1)],
            lambda: body + b" x",
            lambda: b"\xef\xbb\xbf" + body,
            lambda: body.decode("utf-8", "replace").encode("utf-16"),
            lambda: body.replace(b"1", b"NaN", 1),
            lambda: body.replace(b"1", b"-Infinity", 1),
            lambda: body.replace(b"1", b"1e400", 1),
            lambda: body.replace(b"1", b"1" * 400, 1),
            lambda: body.replace(b"{", b'{"order": 1, "text": "NaN", ', 1),
            lambda: body.replace(b"}", b', "number": 1, "number": "2"}', 1) if body != b"{}" else b"{}",
            lambda: b"[" * 500,
            lambda: b"",
            lambda: b"null",
            lambda: b'"text"',
            lambda: b'{"text": "\\ud800"}',
            lambda: b'{"text": "\xff"}',
        )
    )()
    return method, path, query, made, [pair for pair in headers if pair[0] != b"content-length"]


def _odd_headers(random: Random, method: str, path: str, query: bytes, body: bytes, headers: list[Any]) -> Any:
    more = random.choice(
        (
            [(b"x-request-id", b"mine-1")],
            [(b"x-request-id", b"not fit for a header\xff")],
            [(b"x-request-id", b"one"), (b"x-request-id", b"two")],
            [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
            [(b"content-type", b"text/plain")],
            [(b"cookie", b"a=1"), (b"cookie", b"b=2")],
            [(b"content-length", b"9999999999")],
            [(b"accept-encoding", b"gzip")],
            [(b"origin", b"https://example.org")],
            [(b"if-none-match", b"*")],
            [(b"prefer", b"return=minimal, wait=10")],
        )
    )
    names = {name for name, _ in more}
    return method, path, query, body, [pair for pair in headers if pair[0] not in names] + more


def _odd_method(random: Random, method: str, path: str, query: bytes, body: bytes, headers: list[Any]) -> Any:
    return random.choice(("HEAD", "OPTIONS", "PATCH", "GET", "POST", "DELETE", "WEIRD")), path, query, body, headers


def _odd_path(random: Random, method: str, path: str, query: bytes, body: bytes, headers: list[Any]) -> Any:
    made = random.choice((path + "/", path + "%0A", path + "x", path.upper(), "/", "//" + path, path[:-1], path + "//"))
    return method, made, query, body, headers


ODDITIES = (_odd_query, _odd_headers, _odd_method, _odd_path, _odd_body)
