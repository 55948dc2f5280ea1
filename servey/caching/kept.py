"""Keeps the responses of cached results as bytes, so that a hit neither decodes nor encodes anything.

The cache backend stays the source of truth: each use compares the values under the result's keys with those that the
response was made from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_KEPT = 2_000
MAX_KEPT_BYTES = 64 * 1024 * 1024


@dataclass(eq=False)
class Kept:
    """The response of one cached result.

    Shape: ``read`` are the values of the backend's ``keys`` that it was made from; ``authorization`` is the verified caller
    of a private result, or None.
    """

    keys: tuple[str, ...]
    read: Sequence[bytes | None]
    made_at: float
    authorization: Any
    body: bytes
    etag: bytes


class KeptResults:
    """The kept responses of one app, bounded in number and bytes; the least recently used ones are dropped."""

    def __init__(self, max_entries: int = MAX_KEPT, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Kept | None:
        """Return what is kept under a key, or None."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def add(self, key: Hashable, kept: Kept) -> None:
        """Keep a response, unless it is too large."""
        self.drop(key)
        if _size(kept) > self._max_bytes:
            return
        self._kept[key] = kept
        self._bytes += _size(kept)
        while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
            self.drop(next(iter(self._kept)))

    def drop(self, key: Hashable) -> None:
        """Drop what is kept under a key, if anything is."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _size(kept)


def _size(kept: Kept) -> int:
    """The bytes of a response, and of the entry that it keeps in memory."""
    return len(kept.body) + sum(len(value or b"") for value in kept.read)
