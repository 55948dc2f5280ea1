"""The public keys of an issuer, fetched on demand and cached.

Source: RFC 7517.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import math
import time
import urllib.request
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
from jose import jwk

from servey.auth.keys import RSA_BITS, VerifyKey
from servey.core.access import AuthorizationError
from servey.core.errors import ConfigError, Overloaded, without_passwords
from servey.core.version import __version__

logger: logging.Logger = logging.getLogger("servey")

FETCH_SECONDS = 5
WAIT_SECONDS = 0.25
"""How long the request that starts a refresh waits for it, if its key is known already."""
REST_SECONDS = 60
"""Minimum time between two successful fetches, and maximum time between two attempts."""
RETRY_SECONDS = 1
"""Time until the first retry after a failed fetch; it doubles with each further failure."""
FRESH_SECONDS = 600
"""How long keys are used before they are fetched again, so that a withdrawn key is refused."""
MAX_BYTES = 1 << 20
MAX_KEYS = 1000
MAX_RSA_BITS = 16_384
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}
_AGENT = f"servey/{__version__.partition('.')[0]}"


class Jwks:
    """Keys by their ``kid``.

    The keys are fetched on first use, in the background when they are old, and for an unknown ``kid`` (at most once a
    minute, because anyone can name a key). While the issuer does not answer, known keys stay valid, and a token with an
    unknown key gets 503: it may be valid.
    """

    def __init__(
        self, url: str, *, fetch: Callable[[str], bytes] | None = None, clock: Callable[[], float] = time.monotonic
    ):
        if not _is_safe(url):
            raise ConfigError(f"SERVEY_JWKS_URL is {without_passwords(url)!r}; give an https address")
        self._url = url
        self._fetch = fetch or fetch_bytes
        self._clock = clock
        self._keys: dict[str | None, VerifyKey] = {}
        self._next_fetch_at = float("-inf")
        self._fetched_at = float("-inf")
        self._failures = 0
        self._fetching: asyncio.Task[None] | None = None

    async def key_for(self, header: Mapping[str, Any]) -> VerifyKey:
        """Return the key for a token header; without ``kid``, the only key.

        Errors: AuthorizationError for a key that the issuer does not publish, Overloaded while the issuer is away.
        """
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise AuthorizationError("kid is not a string")
        found = self._find(kid)
        if found is not None and self._clock() - self._fetched_at < FRESH_SECONDS:
            return found
        is_first = self._running_fetch() is None
        fetch = self._begin_fetch()
        if fetch is not None and (found is None or is_first):
            await asyncio.wait([fetch], timeout=None if found is None else WAIT_SECONDS)
            found = self._find(kid)
        if found is None and self._failures:
            wait = max(1, math.ceil(self._next_fetch_at - self._clock()))
            raise Overloaded("The token cannot be verified at the moment; try again shortly", retry_after=wait)
        if found is None:
            raise AuthorizationError("the issuer does not publish the key of this token")
        return found

    def _find(self, kid: str | None) -> VerifyKey | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _running_fetch(self) -> asyncio.Task[None] | None:
        task = self._fetching
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            return None
        return task

    def _begin_fetch(self) -> asyncio.Task[None] | None:
        """Return the fetch in progress, or start one; None if the last one was too recent."""
        running = self._running_fetch()
        if running is None and self._clock() >= self._next_fetch_at:
            running = self._fetching = asyncio.get_running_loop().create_task(self._load())
        return running

    async def _load(self) -> None:
        self._next_fetch_at = self._clock() + REST_SECONDS
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                # The thread may hang in a slow connection; nothing waits for it then.
                keys = await anyio.to_thread.run_sync(self._read_keys, abandon_on_cancel=True)
        except Exception as error:
            self._failures += 1
            delay = min(RETRY_SECONDS * 2 ** min(self._failures - 1, 10), REST_SECONDS)
            self._next_fetch_at = self._clock() + delay
            reason = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__
            shown = without_passwords(self._url)
            logger.warning("cannot fetch the keys of %s: %s; next try in %d s", shown, reason, delay)
            return
        self._keys = keys
        self._failures = 0
        self._fetched_at = self._clock()

    def _read_keys(self) -> dict[str | None, VerifyKey]:
        document = json.loads(self._fetch(self._url))
        described = document["keys"][:MAX_KEYS]
        keys = dict(key for each in described if (key := _key_of(each)) is not None)
        if not keys:
            raise ValueError("no RS256 or ES256 key")
        return keys


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_local))


def _key_of(described: Any) -> tuple[str | None, VerifyKey] | None:
    """Return a key of the set by its ``kid``, or None if it does not verify RS256 or ES256 safely."""
    if not isinstance(described, dict) or described.get("use", "sig") != "sig":
        return None
    kid, kind = described.get("kid"), described.get("kty")
    if not isinstance(kind, str) or not (kid is None or isinstance(kid, str)):
        return None
    algorithm = _ALGORITHMS.get(kind)
    if algorithm is None or described.get("alg", algorithm) != algorithm or described.get("crv", "P-256") != "P-256":
        return None
    public = {name: value for name, value in described.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        if kind == "RSA" and not RSA_BITS <= _bits(public["n"]) <= MAX_RSA_BITS:
            logger.warning("the RSA key %.100r of the issuer is ignored: it needs %d bits or more", kid, RSA_BITS)
            return None
        return kid, VerifyKey(algorithm, jwk.construct(public, algorithm))
    except Exception:
        return None  # the libraries raise many kinds of errors for odd values


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number + "=" * (-len(number) % 4))).bit_length()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def fetch_bytes(url: str) -> bytes:
    """Fetch a document of at most 1 MB without following redirects. Errors: OSError."""
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"User-Agent": _AGENT, "Accept": "application/json"})
    try:
        with opener.open(request, timeout=FETCH_SECONDS) as answer:
            body: bytes = answer.read(MAX_BYTES + 1)
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from error
    if len(body) > MAX_BYTES:
        raise OSError("the document is too large")
    return body
