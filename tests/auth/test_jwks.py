"""Keys that an issuer publishes."""

import asyncio
import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwt

from servey import WEB_GET, Authorization, ConfigError, Settings, action, create_app
from servey.auth.jwks import Jwks, fetch_bytes
from servey.auth.tokens import JwtAuthorizer, authorizer_of
from servey.core.access import AuthorizationError
from servey.core.errors import Overloaded
from servey.testing import client
from tests.auth.signing import claims, forged, pem, public

URL = "https://issuer.example/jwks"
FIRST, SECOND = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
CURVE = ec.generate_private_key(ec.SECP256R1())


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()


def rsa_key(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "use": "sig", "n": number(public.n), "e": number(public.e), **more}


def ec_key(key: Any, kid: str) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    return {"kty": "EC", "kid": kid, "crv": "P-256", "x": number(public.x), "y": number(public.y)}


def token(key: Any, kid: str | None, algorithm: str = "RS256") -> str:
    return jwt.encode(claims(), pem(key), algorithm=algorithm, headers={"kid": kid} if kid else None)


class Issuer:
    """Answers from memory, and counts how often it is asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.down = False
        self.now = 0.0

    def fetch(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        if self.down:
            raise OSError("no route")
        return json.dumps({"keys": self.keys}).encode()

    def authorizer(self) -> JwtAuthorizer:
        return JwtAuthorizer(Jwks(URL, fetch=self.fetch, clock=lambda: self.now))


def verify(made: JwtAuthorizer, *tokens: str) -> list[str | None]:
    async def main() -> list[str | None]:
        found = []
        for each in tokens:
            try:
                found.append((await made.authorize(each)).subject_id)
            except AuthorizationError:
                found.append("refused")
            except Overloaded:
                found.append("away")
        return found

    return asyncio.run(main())


def test_each_token_by_its_key():
    issuer = Issuer(rsa_key(FIRST, "a", alg="RS256"), ec_key(CURVE, "b"))
    made = issuer.authorizer()
    assert verify(made, token(FIRST, "a"), token(CURVE, "b", "ES256")) == ["ada", "ada"]
    assert verify(made, token(FIRST, "b"), token(CURVE, "a", "ES256"), token(SECOND, "a")) == ["refused"] * 3
    assert issuer.asked == 1


def test_a_token_without_a_kid_needs_a_set_of_one():
    assert verify(Issuer(rsa_key(FIRST, "a")).authorizer(), token(FIRST, None)) == ["ada"]
    assert verify(Issuer(rsa_key(FIRST, "a"), rsa_key(SECOND, "b")).authorizer(), token(FIRST, None)) == ["refused"]


def test_a_new_key_is_fetched_when_a_token_names_it_at_most_once_a_minute():
    issuer = Issuer(rsa_key(FIRST, "a"))
    made = issuer.authorizer()
    assert verify(made, token(FIRST, "a")) == ["ada"]
    issuer.keys.append(rsa_key(SECOND, "b"))
    assert verify(made, *[token(SECOND, "b")] * 20) == ["refused"] * 20
    assert issuer.asked == 1
    issuer.now = 61
    assert verify(made, token(SECOND, "b"), token(FIRST, "a")) == ["ada", "ada"]
    assert issuer.asked == 2


def test_a_withdrawn_key_is_refused_once_the_set_has_grown_old():
    issuer = Issuer(rsa_key(FIRST, "a"), rsa_key(SECOND, "b"))
    made = issuer.authorizer()
    assert verify(made, token(FIRST, "a")) == ["ada"]
    del issuer.keys[0]
    issuer.now = 599
    assert verify(made, token(FIRST, "a")) == ["ada"]
    issuer.now = 601
    assert verify(made, token(FIRST, "a"), token(SECOND, "b")) == ["refused", "ada"]


def test_known_keys_stay_while_the_issuer_is_away():
    issuer = Issuer(rsa_key(FIRST, "a"))
    made = issuer.authorizer()
    assert verify(made, token(FIRST, "a")) == ["ada"]
    issuer.down, issuer.now = True, 700
    assert verify(made, *[token(FIRST, "a")] * 10) == ["ada"] * 10
    assert issuer.asked == 2


def test_many_first_tokens_ask_once():
    issuer = Issuer(rsa_key(FIRST, "a"))
    made = issuer.authorizer()

    async def main() -> None:
        await asyncio.gather(*(made.authorize(token(FIRST, "a")) for _ in range(50)))

    asyncio.run(main())
    assert issuer.asked == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": 5}',
        b'{"keys": [5, null, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA"}]}',
        b"\xff",
        b'"keys"',
        b'{"keys": "keys"}',
        b'{"keys": {"a": 1}}',
        b'{"keys": [{"kty": ["RSA"], "kid": {}}, {"kty": "RSA", "kid": ["a"], "n": 5, "e": null}]}',
        b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "a"}]}',
        b'{"keys": [{"kty": "RSA", "n": "' + b"A" * 500_000 + b'", "e": "AQAB", "kid": "a"}]}',
        b"[" * 100_000,
        b'{"keys": ' + b"[" * 100_000,
    ],
)
def test_nonsense_from_an_issuer_opens_nothing(answer):
    made = JwtAuthorizer(Jwks(URL, fetch=lambda url: answer))
    assert verify(made, token(FIRST, "a"), forged({"alg": "HS256", "kid": "a"}, claims(), b"secret")) == ["away"] * 2


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "' OR 1=1", "https://evil.example", ["a"], {"a": 1}, 5, "x" * 5000, True]
)
def test_whatever_a_kid_says_it_is_only_looked_up(kid):
    issuer = Issuer(rsa_key(FIRST, "a"))
    header = {"alg": "RS256", "kid": kid, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x"}
    assert verify(issuer.authorizer(), forged(header, claims(), b"x")) == ["refused"]
    assert issuer.asked <= 1


def test_keys_for_something_else_are_left_out():
    issuer = Issuer(
        rsa_key(FIRST, "enc", use="enc"), rsa_key(SECOND, "ps", alg="PS256"), {**ec_key(CURVE, "p"), "crv": "P-384"}
    )
    assert (
        verify(issuer.authorizer(), token(FIRST, "enc"), token(SECOND, "ps"), token(CURVE, "p", "ES256"))
        == ["away"] * 3
    )


@pytest.mark.parametrize("url", ["http://issuer.example/jwks", "file:///etc/passwd", "ftp://x/y", "nonsense", ""])
def test_an_address_that_is_not_safe(url):
    with pytest.raises(ConfigError, match="give an https address"):
        authorizer_of(Settings(jwks_url=url))


@contextmanager
def issuer_on_loopback(status: int = 200, body: bytes = b"", location: str = ""):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None: ...

    with listening(Handler) as url:
        yield url


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_over_a_real_connection():
    @action(triggers=WEB_GET)
    async def who(authorization: Authorization) -> str | None:
        return authorization.subject_id

    body = json.dumps({"keys": [rsa_key(FIRST, "a")]}).encode()
    with (
        issuer_on_loopback(body=body) as url,
        client(create_app(actions=[who], settings=Settings(jwks_url=url))) as http,
    ):
        bearer = {"Authorization": f"Bearer {token(FIRST, 'a')}"}
        assert http.get("/actions/who", headers=bearer).json() == "ada"
        assert http.post("/login", data={"username": "root", "password": "x"}).status_code == 404


def test_no_redirect_is_followed_and_no_flood_is_read():
    with issuer_on_loopback(302, location="http://127.0.0.1:1/elsewhere") as url, pytest.raises(OSError, match="302"):
        fetch_bytes(url)
    with issuer_on_loopback(body=b"x" * (2 << 20)) as url, pytest.raises(OSError, match="too large"):
        fetch_bytes(url)
    with issuer_on_loopback(500) as url, pytest.raises(OSError, match="500"):
        fetch_bytes(url)


def test_one_odd_key_spoils_none_of_the_others():
    issuer = Issuer({"kty": ["RSA"], "kid": "odd"}, {"kty": "RSA", "kid": ["x"]}, rsa_key(FIRST, "a"))
    assert verify(issuer.authorizer(), token(FIRST, "a")) == ["ada"]


def test_a_small_rsa_key_is_not_used():
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    issuer = Issuer(rsa_key(small, "small"), rsa_key(FIRST, "a"))
    assert verify(issuer.authorizer(), token(small, "small"), token(FIRST, "a")) == ["refused", "ada"]
    with pytest.raises(ConfigError, match="1024 bits; RS256 needs 2048 or more"):
        authorizer_of(Settings(jwt_public_key=public(small).decode()))


@pytest.mark.anyio
async def test_an_issuer_that_is_away_is_asked_again_soon_and_less_and_less_often():
    issuer, good = Issuer(rsa_key(FIRST, "a")), token(FIRST, "a")
    made, issuer.down = issuer.authorizer(), True
    asked_at = []
    while issuer.now < 70:
        before = issuer.asked
        with pytest.raises(Overloaded):
            await made.authorize(good)
        if issuer.asked > before:
            asked_at.append(issuer.now)
        issuer.now += 1
    assert asked_at == [0, 1, 3, 7, 15, 31, 63]
    issuer.down, issuer.now = False, 123
    assert (await made.authorize(good)).subject_id == "ada"


@pytest.mark.anyio
async def test_an_issuer_that_hangs_delays_nobody_whose_key_is_known():
    issuer, hanging, ended = Issuer(rsa_key(FIRST, "a")), threading.Event(), threading.Event()
    made = issuer.authorizer()
    assert (await made.authorize(token(FIRST, "a"))).subject_id == "ada"

    def hang(url: str) -> bytes:
        hanging.set()
        ended.wait(10)
        raise OSError("slow")

    made._keys._fetch, issuer.now = hang, 700
    try:
        async with asyncio.timeout(2):
            for _ in range(50):
                assert (await made.authorize(token(FIRST, "a"))).subject_id == "ada"
        assert hanging.is_set()
    finally:
        ended.set()


def test_a_good_token_is_503_while_its_issuer_is_away():
    @action(triggers=WEB_GET)
    async def who(authorization: Authorization) -> str | None:
        return authorization.subject_id

    served = create_app(actions=[who], settings=Settings(jwks_url="http://127.0.0.1:1/jwks"))
    with client(served) as http:
        answer = http.get("/actions/who", headers={"Authorization": f"Bearer {token(FIRST, 'a')}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert http.get("/actions/who", headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_the_fetch_names_itself_plainly():
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["User-Agent"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    with listening(Handler) as url:
        fetch_bytes(url)
    assert seen == ["servey/6"]


def test_a_password_in_the_address_is_not_shown():
    with pytest.raises(ConfigError) as refused:
        authorizer_of(Settings(jwks_url="http://me:pa@ss@issuer.example/jwks"))
    assert "pa@ss" not in str(refused.value)
    assert "issuer.example" in str(refused.value)
