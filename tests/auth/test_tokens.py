"""JSON Web Tokens: what a good one says, and every attack that is refused."""

import json
import logging
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwt

from servey import WEB_GET, Authorization, ConfigError, ScopeAccessControl, Settings, action, create_app
from servey.auth.keys import OneKey, public_key, secret_key
from servey.auth.tokens import JwtAuthorizer, authorizer_of
from servey.core.access import AuthorizationError
from servey.testing import client, token_for
from tests.auth.signing import SECRET, b64, claims, forged, hs256, in_seconds, pem, public, verify

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def with_header(**header: Any) -> str:
    return forged({"alg": "HS256", "typ": "JWT", **header}, claims(), SECRET.encode())


def authorizer(**options: Any) -> JwtAuthorizer:
    return JwtAuthorizer(OneKey(secret_key(SECRET)), **options)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("ada", {"root"})),
        ({"sub": ..., "scope": ...}, (None, set())),
        ({"scope": "a b  c "}, ("ada", {"a", "b", "c"})),
        ({"scope": ..., "scp": ["a", "b"]}, ("ada", {"a", "b"})),
        ({"scope": ..., "scopes": ["a b"]}, ("ada", {"a b"})),
        ({"nbf": in_seconds(-5)}, ("ada", {"root"})),
        ({"exp": in_seconds(-10)}, ("ada", {"root"})),  # within the leeway
        ({"aud": ..., "extra": {"anything": 1}}, ("ada", {"root"})),
    ],
)
def test_what_a_good_token_says(changes, expected):
    found = verify(authorizer(), hs256(**changes))
    assert (found.subject_id, set(found.scopes)) == expected
    assert found.expire_at is not None and found.expire_at.tzinfo is not None


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
def test_public_keys(key, algorithm):
    verifier = JwtAuthorizer(OneKey(public_key(public(key).decode())))
    assert verify(verifier, jwt.encode(claims(), pem(key), algorithm=algorithm)).subject_id == "ada"
    with pytest.raises(AuthorizationError):
        verify(verifier, hs256())
    with pytest.raises(ConfigError, match="signing needs a secret"):
        verifier.sign(Authorization(), lifetime=60)


def test_signing():
    made = authorizer(issuer="me", audience="us")
    token = made.sign(Authorization("ada", frozenset({"b", "a"})), lifetime=60)
    found = verify(made, token)
    assert (found.subject_id, found.scopes) == ("ada", {"a", "b"})
    with pytest.raises(AuthorizationError):
        verify(authorizer(issuer="other", audience="us"), token)


GOOD = hs256()
HEAD, BODY, SIGNATURE = GOOD.split(".")
NOW = int(time.time())
ATTACKS: dict[str, str] = {
    "alg none": f"{b64({'alg': 'none', 'typ': 'JWT'})}.{b64(claims())}.",
    "alg None": f"{b64({'alg': 'None'})}.{b64(claims())}.",
    "alg empty": forged({"alg": "", "typ": "JWT"}, claims(), SECRET.encode()),
    "alg missing": forged({"typ": "JWT"}, claims(), SECRET.encode()),
    "alg HS512": jwt.encode(claims(), SECRET * 2, algorithm="HS512"),
    "alg HS384 of the same secret": jwt.encode(claims(), SECRET, algorithm="HS384"),
    "alg list": forged({"alg": ["HS256"]}, claims(), SECRET.encode()),
    "signed by somebody": jwt.encode(claims(), "another-secret-of-more-than-32-bytes!!", algorithm="HS256"),
    "signed by the empty secret": forged({"alg": "HS256", "typ": "JWT"}, claims(), b""),
    "RS256 where HS256 is": jwt.encode(claims(), pem(RSA), algorithm="RS256"),
    "expired": hs256(exp=in_seconds(-61)),
    "exp missing": hs256(exp=...),
    "exp null": forged({"alg": "HS256"}, claims() | {"exp": None}, SECRET.encode()),
    "exp text": forged({"alg": "HS256"}, claims() | {"exp": str(NOW + 36_000)}, SECRET.encode()),
    "exp true": forged({"alg": "HS256"}, claims() | {"exp": True}, SECRET.encode()),
    "exp huge": forged({"alg": "HS256"}, '{"exp": 1e300}', SECRET.encode()),
    "exp infinite": forged({"alg": "HS256"}, '{"exp": Infinity}', SECRET.encode()),
    "exp negative": forged({"alg": "HS256"}, '{"exp": -1}', SECRET.encode()),
    "not yet valid": hs256(nbf=in_seconds(36_000)),
    "nbf text": forged({"alg": "HS256"}, claims() | {"nbf": "soon"}, SECRET.encode()),
    "issued in the future": hs256(iat=in_seconds(36_000)),
    "iat list": forged({"alg": "HS256"}, claims() | {"iat": [1]}, SECRET.encode()),
    "crit": with_header(crit=["exp"]),
    "crit empty": with_header(crit=[]),
    "b64 false": with_header(b64=False),
    "an id token's type": with_header(typ="ID+JWT"),
    "typ is a number": with_header(typ=5),
    "sub is a number": forged({"alg": "HS256"}, claims() | {"sub": 5}, SECRET.encode()),
    "scope is a number": forged({"alg": "HS256"}, claims() | {"scope": 5}, SECRET.encode()),
    "scope holds numbers": forged({"alg": "HS256"}, claims() | {"scope": ["root", 5]}, SECRET.encode()),
    "payload is a list": forged({"alg": "HS256"}, "[1]", SECRET.encode()),
    "payload is text": forged({"alg": "HS256"}, '"root"', SECRET.encode()),
    "payload is nothing": forged({"alg": "HS256"}, "", SECRET.encode()),
    "payload is deep": forged({"alg": "HS256"}, "[" * 3000, SECRET.encode()),
    "payload is not UTF-8": forged({"alg": "HS256"}, b"\xff\xfe", SECRET.encode()),
    "header is a list": forged("[]", claims(), SECRET.encode()),
    "header is deep": forged("[" * 3000, claims(), SECRET.encode()),
    "no signature": f"{HEAD}.{BODY}.",
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "five parts": ".".join(["a"] * 5),
    "truncated": GOOD[:-5],
    "another's signature": f"{HEAD}.{b64(claims(sub='eve'))}.{SIGNATURE}",
    "padded": f"{HEAD}.{BODY}.{SIGNATURE}=",
    "spaces inside": f"{HEAD}. {BODY}.{SIGNATURE}",
    "not ASCII": f"{HEAD}.{BODY}.{SIGNATURE[:-1]}é",
    "full width": GOOD.replace("e", "\uff45"),
    "empty": "",
    "dots": "..",
    "a megabyte": f"{HEAD}.{'A' * 1_000_000}.{SIGNATURE}",
    "just too long": f"{HEAD}.{'A' * 9000}.{SIGNATURE}",
    "a jwk of its own": forged({"alg": "HS256", "jwk": {"kty": "oct", "k": b64("x")}}, claims(), b"x"),
    "a jku of its own": forged({"alg": "HS256", "jku": "https://evil.example/jwks.json", "kid": "1"}, claims(), b"x"),
    "an x5u of its own": forged({"alg": "HS256", "x5u": "https://evil.example/cert.pem"}, claims(), b"x"),
    "an x5c of its own": jwt.encode(claims(), pem(RSA), algorithm="RS256", headers={"x5c": [b64("certificate")]}),
    "kid is a path to an empty file": forged({"alg": "HS256", "kid": "../../../../dev/null"}, claims(), b""),
    "kid is a path to a known file": forged({"alg": "HS256", "kid": "/etc/hostname"}, claims(), b"localhost\n"),
    "kid is SQL": forged({"alg": "HS256", "kid": "x' UNION SELECT 'x' -- "}, claims(), b"x"),
    "kid is a command": forged({"alg": "HS256", "kid": "x; cat /etc/passwd |"}, claims(), b"x"),
    "kid is an object": forged({"alg": "HS256", "kid": {"$ne": None}}, claims(), b"x"),
    "kid has lines": forged({"alg": "HS256", "kid": "x\r\nSet-Cookie: a=b"}, claims(), b"x"),
    "signed by a PEM key": forged({"alg": "HS256"}, claims(), public(RSA)),
    "signed by a DER key": forged({"alg": "HS256"}, claims(), public(RSA, serialization.Encoding.DER)),
    "a claim twice": forged({"alg": "HS256"}, json.dumps(claims())[:-1] + ', "sub": "eve"}', SECRET.encode()),
    "a claim of a claim twice": forged(
        {"alg": "HS256"}, json.dumps(claims())[:-1] + ', "act": {"sub": "a", "sub": "b"}}', SECRET.encode()
    ),
    "alg twice": forged('{"alg": "none", "alg": "HS256"}', claims(), SECRET.encode()),
    "an encrypted token": ".".join([b64({"alg": "dir", "enc": "A256GCM"}), "", b64("iv"), b64("text"), b64("tag")]),
    "compressed": with_header(zip="DEF", crit=["zip"]),
    "a nested token": forged({"alg": "HS256", "cty": "JWT"}, GOOD, SECRET.encode()),
    "exp out of range": forged({"alg": "HS256"}, '{"exp": 1' + "0" * 400 + "}", SECRET.encode()),
    "scope null and scp a number": forged({"alg": "HS256"}, claims() | {"scope": None, "scp": 1}, SECRET.encode()),
    "aud is an object": hs256(aud={"us": True}),
    "standard base64": f"{HEAD}.{BODY}.{SIGNATURE[:-2]}+/",
    "a null byte": f"{HEAD}.{BODY}.{SIGNATURE}\0",
    "full stops of another script": GOOD.replace(".", "\uff0e"),
    "the word Bearer again": f"Bearer {GOOD}",
    "in quotes": f'"{GOOD}"',
    "two tokens": f"{GOOD}, {GOOD}",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(name):
    with pytest.raises(AuthorizationError):
        verify(authorizer(), ATTACKS[name])


@pytest.mark.parametrize("kind", ["PEM", "PEM stripped", "DER", "SSH", "JWK"])
def test_a_public_key_is_never_a_secret(kind):
    material = {
        "PEM": public(RSA),
        "PEM stripped": public(RSA).strip(),
        "DER": public(RSA, serialization.Encoding.DER),
        "SSH": RSA.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        "JWK": json.dumps({"kty": "RSA"}).encode(),
    }[kind]
    with pytest.raises(AuthorizationError):
        verify(
            JwtAuthorizer(OneKey(public_key(public(RSA).decode()))),
            forged({"alg": "HS256", "typ": "JWT"}, claims(), material),
        )


def test_a_non_canonical_last_character():
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = SIGNATURE[-1]
    same_bytes = [c for c in alphabet if c != last and alphabet.index(c) // 4 == alphabet.index(last) // 4]
    for other in same_bytes:
        with pytest.raises(AuthorizationError):
            verify(authorizer(), GOOD[:-1] + other)


@pytest.mark.parametrize(
    ("options", "changes", "good"),
    [
        ({"audience": "us"}, {"aud": "us"}, True),
        ({"audience": "us"}, {"aud": ["them", "us"]}, True),
        ({"audience": "us"}, {"aud": "them"}, False),
        ({"audience": "us"}, {}, False),
        ({"audience": "us"}, {"aud": ["them"]}, False),
        ({"issuer": "me"}, {"iss": "me"}, True),
        ({"issuer": "me"}, {"iss": "you"}, False),
        ({"issuer": "me"}, {"iss": ["me", "you"]}, False),
        ({"issuer": "me"}, {}, False),
        ({}, {"aud": "somebody"}, False),
        ({"require_exp": False}, {"exp": ...}, True),
        ({"leeway": 0}, {"exp": in_seconds(-2)}, False),
        ({"leeway": 120}, {"exp": in_seconds(-60)}, True),
    ],
)
def test_issuer_audience_and_leeway(options, changes, good):
    made = authorizer(**options)
    if good:
        assert verify(made, hs256(**changes)).subject_id == "ada"
    else:
        with pytest.raises(AuthorizationError):
            verify(made, hs256(**changes))


def test_over_http_every_bad_token_is_one_401(caplog):
    @action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
    async def guarded() -> str:
        return "in"

    caplog.set_level(logging.DEBUG)
    app = create_app(actions=[guarded], settings=Settings(env="dev", jwt_secret_key=SECRET))
    with client(app) as http:
        assert http.get("/actions/guarded", headers={"Authorization": f"Bearer {GOOD}"}).json() == "in"
        for name, token in ATTACKS.items():
            answer = http.get("/actions/guarded", headers={b"Authorization": f"Bearer {token}".encode()})
            assert (name, answer.status_code) == (name, 401)
            assert answer.json() == {"detail": "Not authenticated", "code": "unauthenticated"}
            assert answer.headers["www-authenticate"] == "Bearer"
        assert http.get(f"/actions/guarded?token={GOOD}&access_token={GOOD}").status_code == 401
    ours = [record for record in caplog.records if not record.name.startswith("httpx")]
    shown = [f"{record.getMessage()} {record.args}" for record in ours]
    signatures = {token.rpartition(".")[2] for token in ATTACKS.values()} | {SIGNATURE}
    for text in shown:
        assert not [each for each in signatures if len(each) > 15 and each in text], text[:300]
    assert not any(record.levelno >= logging.ERROR for record in caplog.records)


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 60


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"jwt_secret_key": ""}, "has 0 bytes"),
        ({"jwt_secret_key": "short"}, "has 5 bytes"),
        ({"jwt_secret_key": public(RSA).decode()}, "contains a PEM key; set SERVEY_JWT_PUBLIC_KEY instead"),
        ({"jwt_public_key": "nonsense"}, "is not a PEM public key"),
        ({"jwt_public_key": pem(RSA)}, "is not a PEM public key"),
        ({"jwt_public_key": public(ec.generate_private_key(ec.SECP384R1())).decode()}, "neither an RSA key"),
        ({"jwt_public_key": public(RSA).decode(), "jwt_secret_key": SECRET}, "set together; keep only one"),
    ],
)
def test_keys_that_can_not_be_used(settings, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        authorizer_of(Settings(**settings))
    assert SECRET not in str(caught.value)


def test_development_makes_up_a_secret_of_its_own():
    @action(triggers=WEB_GET)
    async def who(authorization: Authorization) -> str | None:
        return authorization.subject_id

    first, second = (create_app(actions=[who], settings=Settings(env="dev")) for _ in range(2))
    token = token_for(first, Authorization("ada"))
    with client(first, authorization=Authorization("ada")) as http:
        assert http.get("/actions/who").json() == "ada"
    with client(second) as http:
        assert http.get("/actions/who", headers={"Authorization": f"Bearer {token}"}).status_code == 401
