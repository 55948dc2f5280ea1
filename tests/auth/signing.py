"""Tokens for tests: good, forged and malformed."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives import serialization
from jose import jwt

from servey import Authorization
from servey.auth.tokens import JwtAuthorizer

SECRET = "a-secret-of-more-than-32-bytes-for-tests"


def b64(data: bytes | dict[str, Any] | str) -> str:
    raw = json.dumps(data).encode() if isinstance(data, dict) else data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: Any, payload: Any, secret: bytes) -> str:
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def in_seconds(seconds: int) -> Any:
    """A moment that is told when a token is made: the table of tokens may be older than it."""
    return lambda: int(time.time()) + seconds


def claims(**changes: Any) -> dict[str, Any]:
    made = {"sub": "ada", "scope": "root", "iat": in_seconds(0), "exp": in_seconds(36_000), **changes}
    return {name: value() if callable(value) else value for name, value in made.items() if value is not ...}


def hs256(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET, algorithm="HS256")


def verify(made: JwtAuthorizer, token: str) -> Authorization:
    return asyncio.run(made.authorize(token))


def pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def public(key: Any, encoding: Any = serialization.Encoding.PEM) -> bytes:
    return key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
