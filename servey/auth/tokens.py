"""JSON Web Tokens: python-jose verifies signatures, this module checks everything else.

python-jose alone accepts a token without ``exp``, ignores ``crit``, lets a token choose its algorithm and accepts a
public key as an HMAC secret. Here each key has exactly one algorithm.
Source: RFC 7515 section 4.1.11 (crit), RFC 7519 section 4.1, RFC 8725.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from servey.auth.keys import SECRET_BYTES, KeySource, OneKey, VerifyKey, public_key, secret_key
from servey.core.access import Authorization, AuthorizationError
from servey.core.context import current_process
from servey.core.errors import ConfigError, ServeyError
from servey.core.process import Process
from servey.core.settings import Settings
from servey.core.settings.tokens import JWT_LEEWAY

# python-jose is imported where an authorizer is created: it is slow to import, and apps without a key do not need it.

MAX_TOKEN_CHARACTERS = 8192
REMEMBERED_TOKENS = 4096
REMEMBERED_CHARACTERS = 2048
"""Maximum number and length of cached tokens: 8 MB at most."""
_LATEST_TIME = 1e11
_TYPES = {"JWT", "AT+JWT"}


@dataclass(frozen=True)
class _Verified:
    """A token with a verified signature, and the facts to check again on each use.

    Units: times in seconds since 1970.
    """

    key: VerifyKey
    header: Mapping[str, Any]
    authorization: Authorization
    expire_at: float | None
    starts_at: float


class JwtAuthorizer:
    """Verifies tokens, and signs them if the key is a secret.

    Verified tokens are cached (least recently used first out): later calls only check that the key is still the same and
    that the token is valid now. ``remembered=0`` disables the cache.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        require_exp: bool = True,
        leeway: float = JWT_LEEWAY,
        clock: Callable[[], float] = time.time,
        remembered: int = REMEMBERED_TOKENS,
    ) -> None:
        import jose.jwt

        _ = jose.jwt  # imported here, so that the first call is not slow
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._require_exp = require_exp
        self._leeway = leeway
        self._clock = clock
        self._capacity = remembered
        self._verified: dict[str, _Verified] = {}
        # None if the key source can change its keys, or a subclass decides about them.
        self._only_key = keys.key if type(keys) is OneKey else None

    def attach(self, process: Process) -> None:
        """Go by the clock of an app, unless this has its own."""
        if self._clock is time.time:
            self._clock = process.clock.now

    async def authorize(self, token: str) -> Authorization:
        """Return the authorization of a valid token. Errors: AuthorizationError; its text is only for the log."""
        known = self._verified.pop(token, None)
        if known is not None and await self._keys.key_for(known.header) is known.key:
            self._check_times(known)
            self._remember(token, known)
            return known.authorization
        known = await self._verify(token)
        self._check_times(known)
        if len(token) <= REMEMBERED_CHARACTERS:
            self._remember(token, known)
        return known.authorization

    def remembered(self, token: str) -> Authorization | None:
        """Return the authorization of a cached token that is valid now, or None."""
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

    def _check_times(self, verified: _Verified) -> None:
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
            raise AuthorizationError("not a signed token")
        try:
            header, claims = (_JSON.decode(_decoded(part).decode()) for part in parts[:2])
        except (ValueError, RecursionError) as error:
            raise AuthorizationError(f"{type(error).__name__}: {error}") from None
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise AuthorizationError("header and claims must be JSON objects")
        key = await self._keys.key_for(header)
        _check_header(header, key)
        if not _is_signed(signed.encode(), _decoded(last), key):
            raise AuthorizationError("the signature does not match")
        self._check_claims(claims)
        return self._read(key, header, claims)

    def _check_claims(self, claims: Mapping[str, Any]) -> None:
        """Refuse a token of another issuer or for another audience. Source: RFC 7519 section 4.1."""
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise AuthorizationError("the token is from another issuer")
        meant = claims.get("aud", [])
        audiences = meant if isinstance(meant, list) else [meant]
        is_for_us = self._audience in audiences and all(isinstance(each, str) for each in audiences)
        if not is_for_us and ("aud" in claims or self._audience is not None):
            raise AuthorizationError("the token is for another audience")
        for name in ("sub", "jti"):
            if name in claims and not _is_text(claims[name]):
                raise AuthorizationError(f"{name} is not a string")

    def sign(
        self, authorization: Authorization, *, lifetime: float, more_claims: Mapping[str, Any] | None = None
    ) -> str:
        """Return a token for this authorization, valid for ``lifetime`` seconds. Errors: ConfigError without a secret."""
        key = self._signing_key()
        if key is None:
            raise ConfigError("signing needs a secret; this app only has a public key")
        claims = claims_of(authorization, self._clock(), lifetime, issuer=self._issuer, audience=self._audience)
        from jose import jwt

        return str(jwt.encode({**(more_claims or {}), **claims}, key.key, algorithm=key.algorithm))

    @property
    def can_sign(self) -> bool:
        """Whether there is a secret to sign with."""
        return self._signing_key() is not None

    def _signing_key(self) -> VerifyKey | None:
        is_secret = isinstance(self._keys, OneKey) and self._keys.key.algorithm.startswith("HS")
        return self._keys.key if isinstance(self._keys, OneKey) and is_secret else None

    def _read(self, key: VerifyKey, header: Mapping[str, Any], claims: Mapping[str, Any]) -> _Verified:
        expire_at = _time_of(claims, "exp")
        not_before = _time_of(claims, "nbf")
        issued_at = _time_of(claims, "iat")
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


RESERVED_CLAIMS = frozenset({"sub", "scope", "scp", "scopes", "iat", "nbf", "exp", "iss", "aud"})


def issue_token(
    subject: str,
    *,
    scopes: Iterable[str] = (),
    expires_in: float = 3600,
    claims: Mapping[str, Any] | None = None,
) -> str:
    """Return a token for a subject, signed with the key of the running app.

    Shape: ``claims`` are additional claims, which `Authorization` does not contain.
    Units: ``expires_in`` is in seconds.
    Errors: ServeyError for invalid arguments or without an app, ConfigError if the app has no secret to sign with.
    """
    granted = frozenset((scopes,) if isinstance(scopes, str) else scopes)
    if not isinstance(subject, str) or not subject:
        raise ServeyError(f"issue_token: the subject is {subject!r}; pass a text that is not empty")
    for scope in granted:
        if not isinstance(scope, str) or not scope or " " in scope:
            raise ServeyError(f"issue_token: the scope {scope!r} is not a text without spaces")
    if not 1 <= expires_in < math.inf:
        raise ServeyError(f"issue_token: expires_in is {expires_in!r}; pass seconds, 1 or more")
    reserved = sorted(RESERVED_CLAIMS & set(claims or ()))
    if reserved:
        raise ServeyError(f"issue_token: claims cannot contain {', '.join(reserved)}; use the other arguments")
    authorizer: Any = current_process().authorizer  # on Lambda, another one may be around the app's own
    if not getattr(authorizer, "can_sign", False):
        raise ConfigError("issue_token: this app cannot sign tokens; set JWT_SECRET_KEY")
    return str(authorizer.sign(Authorization(subject, granted), lifetime=expires_in, more_claims=claims))


def claims_of(
    authorization: Authorization, now: float, lifetime: float, *, issuer: str | None, audience: str | None
) -> dict[str, Any]:
    """Return the claims of a token for this authorization, valid for ``lifetime`` seconds from ``now``."""
    claims: dict[str, Any] = {
        "iat": int(now),
        "exp": int(now) + int(lifetime),
        "scope": " ".join(sorted(authorization.scopes)),
    }
    more = {"sub": authorization.subject_id, "iss": issuer, "aud": audience}
    return claims | {name: value for name, value in more.items() if value is not None}


def _check_header(header: Mapping[str, Any], key: VerifyKey) -> None:
    if header.get("alg") != key.algorithm:
        raise AuthorizationError("the token names an algorithm that does not fit the key")
    if "crit" in header or header.get("b64", True) is not True:
        raise AuthorizationError("the token has critical headers")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper().removeprefix("APPLICATION/") not in _TYPES:
        raise AuthorizationError("the token has another typ")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; duplicate names are refused, because two parsers could read different callers.

    Source: RFC 7515 section 4 and RFC 7519 section 4 (names must be unique).
    """
    named = dict(pairs)
    if len(named) != len(pairs):
        raise AuthorizationError("the token has a duplicate name")
    return named


_JSON = json.JSONDecoder(object_pairs_hook=_without_duplicates)


def _is_signed(signed: bytes, signature: bytes, key: VerifyKey) -> bool:
    try:
        return bool(key.key.verify(signed, signature))
    except Exception:
        return False  # the library raises for bytes that are not a signature


def _is_canonical(part: str) -> bool:
    """Whether this is the canonical base64url of its bytes; otherwise a revoked token could be written differently.

    Source: RFC 7515 section 2 (no padding), RFC 4648 section 3.5.
    """
    try:
        return urlsafe_b64encode(_decoded(part)).rstrip(b"=").decode() == part
    except ValueError:
        return False


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part.encode("ascii") + b"=" * (-len(part) % 4))


def _time_of(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    # Outside of these bounds a datetime cannot hold it.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_TIME:
        raise AuthorizationError(f"{name} is not a valid time")
    return float(value)


def _datetime(moment: float | None) -> datetime | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC)


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the granted scopes. Source: RFC 8693 section 4.2 (scope); other issuers use ``scp`` or ``scopes``."""
    for name in ("scope", "scp", "scopes"):
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, str) and _is_text(value):
            return frozenset(part for part in value.split(" ") if part)
        if isinstance(value, list) and all(map(_is_text, value)):
            return frozenset(value)
        raise AuthorizationError(f"{name} is neither a string nor a list of strings")
    return frozenset()


def _is_text(value: Any) -> bool:
    """Whether a claim is a string that UTF-8 can encode; JSON can also spell half of a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


_OWN_AUTHORIZE = JwtAuthorizer.authorize


def cached_authorization(authorizer: Any, token: str) -> Authorization | None:
    """Return the authorization of a token that was verified before, or None if `authorize` has to be called.

    It is always None for any other authorizer and for a `JwtAuthorizer` whose ``authorize`` is overridden or replaced.
    """
    if type(authorizer) is not JwtAuthorizer or JwtAuthorizer.authorize is not _OWN_AUTHORIZE:
        return None
    return None if "authorize" in vars(authorizer) else authorizer.remembered(token)


class NoKeyAuthorizer:
    """Refuses every token; used by apps without a key."""

    async def authorize(self, token: str) -> Authorization:
        raise AuthorizationError("this app has no key to verify tokens")


def authorizer_of(settings: Settings) -> JwtAuthorizer | NoKeyAuthorizer:
    """Return the authorizer for the settings; development without a key uses a random secret.

    Errors: ConfigError for an invalid key.
    """
    given = {
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "SERVEY_JWT_PUBLIC_KEY": settings.jwt_public_key,
        "SERVEY_JWKS_URL": settings.jwks_url,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} are set together; keep only one")
    keys: KeySource
    if settings.jwks_url is not None:
        from servey.auth.jwks import Jwks

        keys = Jwks(settings.jwks_url)
    elif settings.jwt_public_key is not None:
        keys = OneKey(public_key(settings.jwt_public_key))
    elif settings.jwt_secret_key is not None:
        keys = OneKey(secret_key(settings.jwt_secret_key, strict=not settings.is_dev))
    elif settings.is_dev:
        keys = OneKey(secret_key(secrets.token_urlsafe(SECRET_BYTES)))
    else:
        return NoKeyAuthorizer()
    return JwtAuthorizer(
        keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        require_exp=settings.jwt_require_exp,
        leeway=settings.jwt_leeway,
    )
