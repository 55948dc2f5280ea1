"""Verification keys, each bound to one algorithm, and sources of keys.

Source: RFC 7518, RFC 8725 section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from servey.core.errors import ConfigError

if TYPE_CHECKING:
    from jose.backends.base import Key

# python-jose is imported where a key is created: it is slow to import, and apps without a key do not need it.

SECRET_BYTES = 32
"""Minimum size of an HS256 secret. Source: RFC 7518 section 3.2."""
RSA_BITS = 2048
"""Minimum size of an RSA key. Source: RFC 7518 section 3.3."""


@dataclass(frozen=True, eq=False)
class VerifyKey:
    """A key and the only algorithm that it is used with."""

    algorithm: str
    key: Key

    def __repr__(self) -> str:
        return f"VerifyKey({self.algorithm!r})"


class KeySource(Protocol):
    """Returns the key for a token.

    Errors: AuthorizationError if there is no key for this header.
    """

    async def key_for(self, header: Mapping[str, Any]) -> VerifyKey: ...


@dataclass(frozen=True, eq=False)
class OneKey:
    """The only key of an app."""

    key: VerifyKey

    async def key_for(self, header: Mapping[str, Any]) -> VerifyKey:
        """Return the key, whatever the header contains."""
        return self.key


def secret_key(secret: str, *, strict: bool = True) -> VerifyKey:
    """Return an HS256 key. Errors: ConfigError for an empty secret, or with ``strict`` for one under 32 bytes."""
    size = len(secret.encode())
    if not secret or (strict and size < SECRET_BYTES):
        raise ConfigError(
            f"JWT_SECRET_KEY has {size} bytes; HS256 needs {SECRET_BYTES} or more, "
            "e.g. python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    if "-----BEGIN" in secret:
        raise ConfigError("JWT_SECRET_KEY contains a PEM key; set SERVEY_JWT_PUBLIC_KEY instead")
    from jose import jwk

    return VerifyKey("HS256", jwk.construct(secret, "HS256"))


def public_key(pem: str) -> VerifyKey:
    """Return an RS256 or ES256 key from a PEM public key. Errors: ConfigError."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from jose import jwk

    try:
        loaded = load_pem_public_key(pem.encode())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"SERVEY_JWT_PUBLIC_KEY is not a PEM public key: {error}") from None
    if isinstance(loaded, RSAPublicKey):
        if loaded.key_size < RSA_BITS:
            raise ConfigError(f"SERVEY_JWT_PUBLIC_KEY has {loaded.key_size} bits; RS256 needs {RSA_BITS} or more")
        algorithm = "RS256"
    elif isinstance(loaded, EllipticCurvePublicKey) and isinstance(loaded.curve, SECP256R1):
        algorithm = "ES256"
    else:
        raise ConfigError("SERVEY_JWT_PUBLIC_KEY is neither an RSA key (RS256) nor a P-256 key (ES256)")
    return VerifyKey(algorithm, jwk.construct(pem, algorithm))
