"""The public keys that an issuer publishes, fetched when they are needed and kept.

Source: RFC 7517.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
from jose import jwk
from jose.exceptions import JOSEError

from servey.access import AuthorizationError
from servey.errors import ConfigError
from servey.tokens import VerifyKey

logger = logging.getLogger("servey")

FETCH_SECONDS = 5
REST_SECONDS = 60
"""How long an issuer is left alone after a fetch, whatever tokens come meanwhile."""
FRESH_SECONDS = 600
"""How long keys are used without asking again: a key that its issuer withdrew is refused after that."""
MAX_BYTES = 1 << 20
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}


class Jwks:
    """Keys by their ``kid``.

    They are fetched on first use, again when they have grown old, and when a token names one that is not known; the
    latter at most once a minute, since anyone can name a key. While the issuer does not answer the known ones stay.
    """

    def __init__(
        self, url: str, *, fetch: Callable[[str], bytes] | None = None, clock: Callable[[], float] = time.monotonic
    ):
        parts = urlsplit(url)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        ):
            raise ConfigError(f"SERVEY_JWKS_URL is {url!r}; give an https address")
        self._url = url
        self._fetch = fetch or fetch_bytes
        self._clock = clock
        self._keys: dict[str | None, VerifyKey] = {}
        self._asked_at = float("-inf")
        self._fetched_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def key_for(self, header: Mapping[str, Any]) -> VerifyKey:
        """The key that a token names; the only one where it names none. Errors: AuthorizationError."""
        kid = header.get("kid")
        if self._clock() - self._fetched_at >= FRESH_SECONDS:
            await self._refresh()
        found = self._find(kid)
        if found is None:
            await self._refresh()
            found = self._find(kid)
        if found is None:
            raise AuthorizationError("the token names a key that its issuer does not publish")
        return found

    def _find(self, kid: Any) -> VerifyKey | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _refresh(self) -> None:
        """Asks the issuer, unless it was asked just now; everybody who waits for it waits for one answer."""
        if self._fetching is None:
            if self._clock() - self._asked_at < REST_SECONDS:
                return
            self._asked_at = self._clock()
            self._fetching = asyncio.get_running_loop().create_task(self._load())
        task = self._fetching
        try:
            await asyncio.shield(task)
        finally:
            if task.done() and self._fetching is task:
                self._fetching = None

    async def _load(self) -> None:
        try:
            document = json.loads(await anyio.to_thread.run_sync(self._fetch, self._url))
            keys = dict(filter(None, map(_key_of, document["keys"])))
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("the keys of %s could not be fetched: %s", self._url, type(error).__name__)
            return
        if not keys:
            logger.warning("%s publishes no key for RS256 or ES256", self._url)
            return
        self._keys = keys
        self._fetched_at = self._clock()


def _key_of(described: Any) -> tuple[str | None, VerifyKey] | None:
    """A key of the set; None for one that is not for verifying RS256 or ES256."""
    if not isinstance(described, dict) or described.get("use", "sig") != "sig":
        return None
    algorithm = _ALGORITHMS.get(described.get("kty", ""))
    if algorithm is None or described.get("alg", algorithm) != algorithm or described.get("crv", "P-256") != "P-256":
        return None
    public = {name: value for name, value in described.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        return described.get("kid"), VerifyKey(algorithm, jwk.construct(public, algorithm))
    except (JOSEError, ValueError, TypeError, KeyError):
        return None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def fetch_bytes(url: str) -> bytes:
    """The body of a document, up to a megabyte; no redirect is followed. Errors: OSError."""
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=FETCH_SECONDS) as answer:
        body: bytes = answer.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise OSError("the document is too large")
    return body
