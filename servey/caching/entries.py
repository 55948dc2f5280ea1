"""The results that are stored now: for people who look after an app."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from servey.caching.results import Results
from servey.core.actions import Action
from servey.core.errors import Overloaded

T = TypeVar("T")

MOST_LOOKED_AT = 10_000
"""How many keys of the backend are looked at."""
MOST_READ = 100
"""How many entries of one action are read."""
_ANSWER_SECONDS = 1.5


@runtime_checkable
class ListsKeys(Protocol):
    """A cache backend that knows its keys."""

    async def keys(self, prefix: str, most: int) -> tuple[list[str], bool]:
        """Return keys that begin with a prefix, and whether there may be more, as about ``most`` keys are looked at."""
        ...


@dataclass(frozen=True)
class Stored:
    """How many entries each action has; with ``is_cut`` there may be more. Entries that were invalidated count too."""

    counts: Mapping[str, int]
    is_cut: bool


@dataclass(frozen=True)
class StoredEntry:
    """One stored result.

    Shape: ``key`` is the digest of everything that the result depends on; ``is_valid`` is False if the results of the action
    or of a tag were invalidated since. Units: ``made_at`` in seconds since 1970; ``size`` of the result in bytes.
    """

    key: str
    made_at: float
    size: int
    is_valid: bool


async def stored_of(results: Results) -> Stored | None:
    """Return how many entries are stored, or None if the backend cannot list them. Errors: Overloaded."""
    prefix = results.entry_key("", "").removesuffix(":")
    found = await _keys(results, prefix)
    if found is None:
        return None
    keys, is_cut = found
    return Stored(Counter(key.removeprefix(prefix).partition(":")[0] for key in keys), is_cut)


async def entries_of(results: Results, action: Action) -> list[StoredEntry]:
    """Return entries of an action, the latest first; none if the backend cannot list them. Errors: Overloaded."""
    prefix = results.entry_key(action.name, "")
    found = await _keys(results, prefix)
    keys = found[0][:MOST_READ] if found is not None else []
    stamps = [results.stamp(f"action:{action.name}"), *(results.stamp(f"tag:{tag}") for tag in action.tags)]
    values = await results.read((*stamps, *keys))
    if values is None:
        raise _no_answer()
    now, entries = [each or b"" for each in values[: len(stamps)]], []
    for key, value in zip(keys, values[len(stamps) :], strict=True):
        head, _, content = (value or b"").partition(b"\n")
        made_at, _, its_stamps = head.partition(b" ")
        own = its_stamps.split(b",")
        # The second is that of one call, whose name is not known here.
        is_valid = own[:1] + own[2:] == now
        try:
            entries.append(StoredEntry(key.removeprefix(prefix), float(made_at), len(content), is_valid))
        except ValueError:
            continue  # it has expired meanwhile
    return sorted(entries, key=lambda each: each.made_at, reverse=True)


async def drop_entry(results: Results, action: Action, key: str) -> bool:
    """Delete one entry; return False if there is none. Errors: Overloaded."""
    name = results.entry_key(action.name, key)
    return bool(await _answered(lambda: results.backend.clear(key=name)))


async def _keys(results: Results, prefix: str) -> tuple[Sequence[str], bool] | None:
    backend = results.backend
    if not isinstance(backend, ListsKeys):
        return None
    keys, is_cut = await _answered(lambda: backend.keys(prefix, MOST_LOOKED_AT))
    return [key for key in keys if not key.endswith(":lock")], is_cut


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await ask()
    except Exception:
        raise _no_answer() from None


def _no_answer() -> Overloaded:
    return Overloaded("The cache does not answer; try again shortly")
