"""The claims that an authorizer of API Gateway has verified, as the `Authorization` of a request.

Source: API Gateway developer guide, "JWT authorizers", "Cognito user pools" and "Lambda authorizers".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from servey.core.access import Authorization, AuthorizationError, Authorizer

_LATEST_TIME = 1e11


class GatewayAuthorizer:
    """Knows the callers that API Gateway has verified; asks the app's own authorizer about all others.

    Units: ``leeway`` is the allowed clock skew in seconds.
    """

    def __init__(self, inner: Authorizer, leeway: float) -> None:
        self._inner = inner
        self._leeway = timedelta(seconds=leeway)
        self._verified: dict[str, Authorization] = {}

    async def authorize(self, token: str) -> Authorization:
        """Return the authorization of a token. Errors: AuthorizationError."""
        verified = self._verified.get(token)
        if verified is None:
            return await self._inner.authorize(token)
        # A Lambda authorizer's result is cached, so it may be older than the token's expiry.
        ended = verified.expire_at
        if ended is not None and ended + self._leeway <= datetime.now(UTC):
            raise AuthorizationError("the claims have expired")
        return verified

    def __getattr__(self, name: str) -> Any:
        # Signing tokens, and whatever else the app's own authorizer can do.
        return getattr(self._inner, name)

    @contextmanager
    def verified(self, authorization: Authorization) -> Iterator[str]:
        """Yield a token that has this authorization until the block ends; nobody can guess it."""
        token = secrets.token_urlsafe(32)
        self._verified[token] = authorization
        try:
            yield token
        finally:
            del self._verified[token]


def verified_by_gateway(event: Mapping[str, Any]) -> Authorization | None:
    """Return the authorization in an HTTP event, or None if its route has no authorizer."""
    authorizer = event["requestContext"].get("authorizer")
    claims = _claims(authorizer) if isinstance(authorizer, Mapping) else None
    if claims is None:
        return None
    subject = claims.get("sub")
    return Authorization(
        subject_id=subject if isinstance(subject, str) and subject else None,
        scopes=_scopes(claims),
        not_before=_moment(claims.get("nbf")),
        expire_at=_moment(claims.get("exp")),
    )


def _claims(authorizer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    jwt = authorizer.get("jwt")
    places = (
        jwt.get("claims") if isinstance(jwt, Mapping) else None,
        authorizer.get("claims"),
        authorizer.get("lambda"),
    )
    found = next((each for each in places if isinstance(each, Mapping)), None)
    if found is None and "principalId" in authorizer:  # a Lambda authorizer of a REST API
        found = {"sub": authorizer["principalId"], **authorizer}
    return found


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes. An HTTP API writes a list as the text `[a b]`."""
    for name in ("scope", "scp", "scopes"):
        value = claims.get(name)
        if isinstance(value, str):
            return frozenset(value.removeprefix("[").removesuffix("]").split())
        if isinstance(value, list):
            return frozenset(each for each in value if isinstance(each, str))
    return frozenset()


def _moment(value: Any) -> datetime | None:
    """Return a time that is a number of seconds, also as a text. The gateway itself has checked every other form."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return datetime.fromtimestamp(seconds, UTC) if 0 <= seconds < _LATEST_TIME else None
