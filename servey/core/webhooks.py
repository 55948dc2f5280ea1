"""Check a webhook's URL, headers and secret when its channel is declared, so that no delivery fails because of them.

Source: Standard Webhooks 1.0; RFC 9110 section 5.5 (field values), section 5.6.2 (tokens).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_IN_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_RESERVED = {
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
}


def checked_url(url: str) -> str:
    """Return the URL of a webhook. Errors: ValueError says what is wrong with it."""
    if not isinstance(url, str) or not url.lower().startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not the URL of a webhook; start it with https://")
    if not url.isascii() or re.search(r"[\x00-\x20\x7f<>\"\\^`{|}]", url):
        raise ValueError(f"the URL {url!r} has a character that a URL cannot have; percent-encode it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the URL {url!r} is invalid: {error}") from None
    if not parts.hostname:
        raise ValueError(f"the URL {url!r} has no host")
    if port == 0:
        raise ValueError(f"the URL {url!r} has the port 0")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the URL of {parts.hostname} contains a user name or a password; send them in a header")
    if "#" in url:
        raise ValueError(f"the URL {url!r} has a fragment, which is never sent; remove it")
    return url


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers of a webhook by lower-case name. Errors: ValueError; it shows no value, since it may be secret."""
    found: dict[str, str] = {}
    for name, value in dict(headers or {}).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        lower = name.lower()
        if lower in _RESERVED:
            raise ValueError(f"the header {name!r} is set by each delivery; remove it")
        if lower in found:
            raise ValueError(f"the header {name!r} is given twice")
        if not isinstance(value, str):
            raise ValueError(f"the value of header {name!r} is a {type(value).__name__}; use text")
        if _BAD_IN_VALUE.search(value):
            raise ValueError(f"the value of header {name!r} has a character that a header cannot have")
        found[lower] = value.strip(" \t")
    return found


def checked_timeout(seconds: float) -> float:
    """Return the timeout of a webhook. Errors: ValueError."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"timeout is {seconds!r}; use a number of seconds above 0")
    return seconds


def signing_keys(secret: str | bytes | None) -> tuple[bytes, ...]:
    """Return the keys that sign a delivery, one signature each.

    Shape: ``whsec_`` and base64, with or without padding, is one key; bytes are a key as they are. Other text is a key as it
    is, and what it decodes to too if it is base64: libraries for receivers differ in how they read it. Text may hold
    several secrets with spaces between them.
    Errors: ValueError; it does not show the secret.
    """
    if secret is None:
        return ()
    if isinstance(secret, bytes | bytearray):
        if not secret:
            raise ValueError("the secret is empty")
        return (bytes(secret),)
    if not isinstance(secret, str):
        raise ValueError(f"the secret is a {type(secret).__name__}; use text or bytes")
    if not secret.split():
        raise ValueError("the secret is empty")
    keys: list[bytes] = []
    for each in secret.split():
        keys += _keys_of(each)
    return tuple(dict.fromkeys(keys))


def _keys_of(secret: str) -> list[bytes]:
    if secret.startswith(("whsk_", "whpk_")):
        raise ValueError("the secret is a key for asymmetric signatures, which are not supported; use a whsec_ secret")
    if not secret.startswith("whsec_"):
        try:
            raw = secret.encode()
        except UnicodeEncodeError:
            raise ValueError("the secret is not valid Unicode") from None
        decoded = _base64(secret)
        return [raw, decoded] if decoded else [raw]
    decoded = _base64(secret.removeprefix("whsec_"))
    if not decoded:
        raise ValueError("the secret begins with whsec_, but what follows is not base64 (A-Z a-z 0-9 + /)")
    return [decoded]


def _base64(text: str) -> bytes | None:
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
