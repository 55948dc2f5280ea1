"""JSON Web Tokens: signatures by python-jose, everything around them by checks of our own.

python-jose by itself takes a token without ``exp``, ignores ``crit``, lets a token choose its algorithm and lets a
public key serve as an HMAC secret. Here each key has exactly one algorithm, and what must be checked is checked, once.
Source: RFC 7515 section 4.1.11 (crit), RFC 7519 section 4.1, RFC 8725.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from servey.access import Authorization, AuthorizationError
from servey.errors import ConfigError
from servey.settings import Settings

if TYPE_CHECKING:
    from jose.backends.base import Key

# python-jose is imported where an authorizer is made: it takes long, and an app that has no key does not need it.

MAX_TOKEN_CHARACTERS = 8192
REMEMBERED_TOKENS = 4096
REMEMBERED_CHARACTERS = 2048
"""How many verified tokens are remembered, and up to which length: 8 MB of them at most."""
_TYPES = {"JWT", "AT+JWT"}
_SECRET_BYTES = 32
"""RFC 7518 section 3.2: a key of at least the hash's size."""


@dataclass(frozen=True, eq=False)
class VerifyKey:
    """A key with the one algorithm that it is for."""

    algorithm: str
    key: Key

    def __repr__(self) -> str:
        return f"VerifyKey({self.algorithm!r})"


class KeySource(Protocol):
    """Where the key of a token comes from.

    Errors: AuthorizationError where there is none for this header.
    """

    async def key_for(self, header: Mapping[str, Any]) -> VerifyKey: ...


@dataclass(frozen=True, eq=False)
class OneKey:
    """The only key of an app."""

    key: VerifyKey

    async def key_for(self, header: Mapping[str, Any]) -> VerifyKey:
        """The key, whatever the token says of it."""
        return self.key


@dataclass(frozen=True)
class _Verified:
    """What a token says whose signature was found good, with what has to be asked again each time.

    Units: moments in seconds since 1970.
    """

    key: VerifyKey
    header: Mapping[str, Any]
    authorization: Authorization
    expire_at: float | None
    starts_at: float


class JwtAuthorizer:
    """Verifies tokens, and signs them where the app's one key is a secret.

    A verified token is remembered, the last ones first: the next time only its key has to be the same one still, and the
    moment within its bounds. ``remembered=0`` verifies each token each time.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        require_exp: bool = True,
        leeway: float = 30,
        clock: Callable[[], float] = time.time,
        remembered: int = REMEMBERED_TOKENS,
    ) -> None:
        import jose.jwt

        _ = jose.jwt  # a call has no time to import it
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._require_exp = require_exp
        self._leeway = leeway
        self._clock = clock
        self._capacity = remembered
        self._verified: dict[str, _Verified] = {}
        # None where keys come and go, and have to be asked for.
        self._only_key = keys.key if isinstance(keys, OneKey) else None

    async def authorize(self, token: str) -> Authorization:
        """What a valid token says. Errors: AuthorizationError, whose text is for the log alone."""
        known = self._verified.pop(token, None)
        if known is not None and await self._keys.key_for(known.header) is known.key:
            self._check_moment(known)
            self._remember(token, known)
            return known.authorization
        known = await self._verify(token)
        self._check_moment(known)
        if len(token) <= REMEMBERED_CHARACTERS:
            self._remember(token, known)
        return known.authorization

    def remembered(self, token: str) -> Authorization | None:
        """What a token says that was verified before and may be used now; None where that has to be found out."""
        known = self._verified.get(token)
        if known is None or self._only_key is not known.key:
            return None
        now = self._clock()
        if known.expire_at is not None and known.expire_at + self._leeway <= now:
            return None
        return known.authorization if known.starts_at - self._leeway <= now else None

    def _remember(self, token: str, verified: _Verified) -> None:
        self._verified[token] = verified
        if len(self._verified) > self._capacity:
            del self._verified[next(iter(self._verified))]

    def _check_moment(self, verified: _Verified) -> None:
        now = self._clock()
        if verified.expire_at is not None and verified.expire_at + self._leeway <= now:
            raise AuthorizationError("the token has expired")
        if verified.starts_at - self._leeway > now:
            raise AuthorizationError("the token is not valid yet")

    async def _verify(self, token: str) -> _Verified:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise AuthorizationError("the token is too long")
        signed, _, last = token.rpartition(".")
        parts = [*signed.split("."), last]
        if len(parts) != 3 or not all(map(_is_canonical, parts)):
            raise AuthorizationError("this is no signed token")
        try:
            header, claims = (_JSON.decode(_decoded(part).decode()) for part in parts[:2])
        except (ValueError, RecursionError) as error:
            raise AuthorizationError(f"{type(error).__name__}: {error}") from None
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise AuthorizationError("the token is not made of two objects")
        key = await self._keys.key_for(header)
        _check_header(header, key)
        if not _is_signed(signed.encode(), _decoded(last), key):
            raise AuthorizationError("the signature is not of this key")
        self._check_claims(claims)
        return self._read(key, header, claims)

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        """Refuses a token that is another issuer's, or for another audience. Source: RFC 7519 section 4.1."""
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise AuthorizationError("the token is another issuer's")
        meant = claims.get("aud", [])
        audiences = meant if isinstance(meant, list) else [meant]
        is_for_us = self._audience in audiences and all(isinstance(each, str) for each in audiences)
        if not is_for_us and ("aud" in claims or self._audience is not None):
            raise AuthorizationError("the token is for another audience")
        for name in ("sub", "jti"):
            if name in claims and not isinstance(claims[name], str):
                raise AuthorizationError(f"{name} is no text")

    def sign(self, authorization: Authorization, *, lifetime: float) -> str:
        """A token that says this, for ``lifetime`` seconds. Errors: ServeyError without a secret to sign with."""
        key = self._signing_key()
        if key is None:
            raise ConfigError("tokens are only signed with a secret; this app verifies with a public key")
        claims = claims_of(authorization, self._clock(), lifetime, issuer=self._issuer, audience=self._audience)
        from jose import jwt

        return str(jwt.encode(claims, key.key, algorithm=key.algorithm))

    @property
    def can_sign(self) -> bool:
        """Whether it has a secret to sign with."""
        return self._signing_key() is not None

    def _signing_key(self) -> VerifyKey | None:
        is_secret = isinstance(self._keys, OneKey) and self._keys.key.algorithm.startswith("HS")
        return self._keys.key if isinstance(self._keys, OneKey) and is_secret else None

    def _read(self, key: VerifyKey, header: Mapping[str, Any], claims: Mapping[str, Any]) -> _Verified:
        expire_at = _moment(claims, "exp")
        not_before = _moment(claims, "nbf")
        issued_at = _moment(claims, "iat")
        if expire_at is None and self._require_exp:
            raise AuthorizationError("the token never expires")
        authorization = Authorization(
            subject_id=claims.get("sub"),
            scopes=_scopes(claims),
            not_before=_datetime(not_before),
            expire_at=_datetime(expire_at),
        )
        starts_at = max(-math.inf if moment is None else moment for moment in (not_before, issued_at))
        return _Verified(key, header, authorization, expire_at, starts_at)


def claims_of(
    authorization: Authorization, now: float, lifetime: float, *, issuer: str | None, audience: str | None
) -> dict[str, Any]:
    """The claims of a token that says this, from now on for ``lifetime`` seconds."""
    claims: dict[str, Any] = {
        "iat": int(now),
        "exp": int(now) + int(lifetime),
        "scope": " ".join(sorted(authorization.scopes)),
    }
    more = {"sub": authorization.subject_id, "iss": issuer, "aud": audience}
    return claims | {name: value for name, value in more.items() if value is not None}


def _check_header(header: Mapping[str, Any], key: VerifyKey) -> None:
    if header.get("alg") != key.algorithm:
        raise AuthorizationError("the token names another algorithm than the key is for")
    if "crit" in header or header.get("b64", True) is not True:
        raise AuthorizationError("the token has critical headers")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper().removeprefix("APPLICATION/") not in _TYPES:
        raise AuthorizationError("the token is of another type")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a token, which may not say one thing twice: who reads the first may see another caller than who reads
    the last.

    Source: RFC 7515 section 4 and RFC 7519 section 4 (names must be unique).
    """
    named = dict(pairs)
    if len(named) != len(pairs):
        raise AuthorizationError("the token says one thing twice")
    return named


_JSON = json.JSONDecoder(object_pairs_hook=_once_each)


def _is_signed(signed: bytes, signature: bytes, key: VerifyKey) -> bool:
    try:
        return bool(key.key.verify(signed, signature))
    except Exception:
        return False  # not a signature at all, to the library that looks at it


def _is_canonical(part: str) -> bool:
    """Whether this is the one way to write its bytes: a token that can be written twice gets past a list of revoked ones.

    Source: RFC 7515 section 2 (no padding), RFC 4648 section 3.5.
    """
    try:
        return urlsafe_b64encode(_decoded(part)).rstrip(b"=").decode() == part
    except ValueError:
        return False


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part.encode("ascii") + b"=" * (-len(part) % 4))


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e11 <= value <= 1e11:
        raise AuthorizationError(f"{name} is no moment in time")
    return float(value)


def _datetime(moment: float | None) -> datetime | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """The granted scopes. Source: RFC 8693 section 4.2 (scope); ``scp`` and ``scopes`` are what other issuers write."""
    for name in ("scope", "scp", "scopes"):
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            return frozenset(part for part in value.split(" ") if part)
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return frozenset(value)
        raise AuthorizationError(f"{name} is neither text nor a list of texts")
    return frozenset()


class NoKeyAuthorizer:
    """Refuses every token, for an app that has no key to verify one with."""

    async def authorize(self, token: str) -> Authorization:
        raise AuthorizationError("this app has no key to verify tokens with")


def authorizer_of(settings: Settings) -> JwtAuthorizer | NoKeyAuthorizer:
    """The authorizer that the settings ask for. In development a secret is made up where none is set.

    Errors: ConfigError for a key that can not be used.
    """
    given = {
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "SERVEY_JWT_PUBLIC_KEY": settings.jwt_public_key,
        "SERVEY_JWKS_URL": settings.jwks_url,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} are both set; keep one family of algorithms")
    keys: KeySource
    if settings.jwks_url is not None:
        from servey.jwks import Jwks

        keys = Jwks(settings.jwks_url)
    elif settings.jwt_public_key is not None:
        keys = OneKey(public_key(settings.jwt_public_key))
    elif settings.jwt_secret_key is not None:
        keys = OneKey(secret_key(settings.jwt_secret_key, strict=not settings.is_dev))
    elif settings.is_dev:
        keys = OneKey(secret_key(secrets.token_urlsafe(_SECRET_BYTES)))
    else:
        return NoKeyAuthorizer()
    return JwtAuthorizer(
        keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        require_exp=settings.jwt_require_exp,
        leeway=settings.jwt_leeway,
    )


def secret_key(secret: str, *, strict: bool = True) -> VerifyKey:
    """A key for HS256. Errors: ConfigError for an empty secret, and for one under 32 bytes where ``strict``."""
    size = len(secret.encode())
    if not secret or (strict and size < _SECRET_BYTES):
        raise ConfigError(
            f"JWT_SECRET_KEY has {size} bytes; HS256 needs {_SECRET_BYTES} or more, "
            "e.g. python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    if "-----BEGIN" in secret:
        raise ConfigError("JWT_SECRET_KEY holds a PEM key; give a public key as SERVEY_JWT_PUBLIC_KEY")
    from jose import jwk

    return VerifyKey("HS256", jwk.construct(secret, "HS256"))


def public_key(pem: str) -> VerifyKey:
    """A key for RS256 or ES256, whichever the PEM is of. Errors: ConfigError."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from jose import jwk

    try:
        loaded = load_pem_public_key(pem.encode())
    except (ValueError, TypeError) as error:
        raise ConfigError(f"SERVEY_JWT_PUBLIC_KEY is no PEM public key: {error}") from None
    if isinstance(loaded, RSAPublicKey):
        algorithm = "RS256"
    elif isinstance(loaded, EllipticCurvePublicKey) and isinstance(loaded.curve, SECP256R1):
        algorithm = "ES256"
    else:
        raise ConfigError("SERVEY_JWT_PUBLIC_KEY is neither an RSA key (RS256) nor a P-256 key (ES256)")
    return VerifyKey(algorithm, jwk.construct(pem, algorithm))
