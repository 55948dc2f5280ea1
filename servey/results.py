"""The results that the server keeps: one computation for any number of callers who ask for the same.

A result is kept as JSON, so that everybody gets an object of their own, and a Redis that somebody else writes to can not
make this process run anything. It stands under its action, its parameters and, where it is private, its caller, together
with the stamps of what can be invalidated: a stamp that has changed since makes it void, also where it was still being
computed then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isinf
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

from pydantic import ValidationError

from servey.actions import Action, get_action
from servey.cache import TtlCacheControl
from servey.canonical import NotPlainError
from servey.channels import Published
from servey.context import Context, current_runtime
from servey.errors import ConfigError, ServeyError
from servey.keeping import Keeping, call_key, digest
from servey.metrics import CACHE

if TYPE_CHECKING:
    from servey.settings import Settings

T = TypeVar("T")
logger = logging.getLogger("servey")

LEASE_SECONDS = 5
"""How long others wait for a process that died while it computed."""
_POLL_SECONDS = 0.02
_SLOWEST_SECONDS = 1.5
"""How long a backend may take, its connections and those who wait for them included."""
_SILENCE_SECONDS = 5
"""How long a backend that failed is left alone."""


@dataclass(frozen=True)
class _Key:
    entry: str
    stamps: tuple[str, ...]


@dataclass(frozen=True)
class _Kept:
    """A kept result. Units: ``made_at`` in seconds since 1970."""

    made_at: float
    content: bytes


@dataclass(frozen=True)
class _Made:
    """What came of a computation: ``kept`` is None where it can not be kept; ``elsewhere`` says whose it was."""

    value: Any
    kept: _Kept | None
    elsewhere: bool = False


class _Flight:
    """One computation and those who wait for it."""

    def __init__(self, task: asyncio.Task[_Made], outlives: bool) -> None:
        self.task = task
        self._outlives = outlives
        self._waiting = 0

    async def join(self, *, leads: bool) -> _Made | None:
        """What came of it; None where the caller that began it is gone, and it with them."""
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if leads or not self.task.cancelled() or me is None or me.cancelling():
                raise
            return None
        finally:
            self._waiting -= 1
            if not self.task.done() and (self._waiting == 0 or (leads and not self._outlives)):
                self.task.cancel()
                await asyncio.wait({self.task})


class Results:
    """The kept results of one app on one event loop."""

    def __init__(self, backend: Any, prefix: str, clock: Callable[[], float] = time.time) -> None:
        self.backend = backend
        self._prefix = prefix
        self._clock = clock
        self._flights: dict[str, _Flight] = {}
        self._silent_until: float | None = None
        self._warned: set[str] = set()

    async def result_of(
        self,
        action: Action,
        keeping: Keeping,
        values: Mapping[str, Any],
        context: Context,
        compute: Callable[[], Awaitable[Any]],
    ) -> Any:
        """The kept result of a call, or else the one that ``compute`` gives; it may then be kept.

        A result that was kept says so in the context's ``made_at``.
        Errors: whatever ``compute`` raises; an error is never kept.
        """
        try:
            key = await self._key(action, keeping, values, context)
        except NotPlainError as error:
            self._warn(action, f"its results are not kept on the server: a call depends on what has no key: {error}")
            return await compute()
        found, stamps = await self._read(key, action, keeping)
        context.runtime.metrics.add(CACHE, action.name, "miss" if found is None else "hit")
        leads = False
        if found is None:
            found, leads = await self._computed(key, stamps, action, keeping, compute)
        if leads and not found.elsewhere:
            return found.value
        if found.kept is None:
            return await compute()
        context.made_at = found.kept.made_at
        return found.value if leads else _value(action, found.kept.content)

    async def forget(self, stamp: str, longest: float) -> None:
        """Makes void what carries a stamp. Units: ``longest`` is how many seconds any of it may still be kept."""
        expire = None if isinf(longest) else longest
        done = await self._tried(lambda: self.backend.set(stamp, uuid4().hex.encode(), expire), True, urgent=True)
        if done is not True:
            logger.error(
                "the cache could not be told to forget '%s'; what it keeps of it holds until its time is over", stamp
            )

    async def check(self) -> None:
        """Asks the backend for something. Errors: whatever it raises where it does not answer."""
        await self.backend.get(self.stamp("check"))

    async def aclose(self) -> None:
        """Closes what the backend holds open."""
        close = getattr(self.backend, "aclose", None)
        if close is not None:
            await close()

    # ------------------------------------------------------------------------------------------------------- keys

    async def _key(self, action: Action, keeping: Keeping, values: Mapping[str, Any], context: Context) -> _Key:
        params, whole = await call_key(keeping, values, context)
        stamps = (f"action:{action.name}", f"call:{action.name}:{params}", *(f"tag:{tag}" for tag in action.tags))
        return _Key(f"{self._prefix}:result:{action.name}:{whole}", tuple(map(self.stamp, stamps)))

    def stamp(self, what: str) -> str:
        """The key of what can be made void at once: an action, one call of it, a tag."""
        return f"{self._prefix}:stamp:{what}"

    # ---------------------------------------------------------------------------------------------------- backend

    async def _read(self, key: _Key, action: Action, keeping: Keeping) -> tuple[_Made | None, bytes | None]:
        """What is kept, if it holds good, and the stamps as they are; no stamps where the backend does not answer."""
        keys = (key.entry, *key.stamps)
        found = await self._tried(lambda: self._get_many(keys), None)
        if found is None:
            return None, None
        stamps = b",".join(each or b"" for each in found[1:])
        kept = _read_entry(found[0], stamps, keeping.ttl, self._clock())
        try:
            return (None if kept is None else _Made(_value(action, kept.content), kept, elsewhere=True)), stamps
        except ValidationError:
            return None, stamps  # another version of the app has kept it

    async def _get_many(self, keys: tuple[str, ...]) -> list[bytes | None]:
        get_many = getattr(self.backend, "get_many", None)
        if get_many is not None:
            return cast(list[bytes | None], await get_many(keys))
        return [await self.backend.get(key) for key in keys]

    async def _tried(self, call: Callable[[], Awaitable[T]], fallback: T | None, *, urgent: bool = False) -> T | None:
        """What a backend gives; ``None`` while it does not answer. A call that gives nothing gives ``fallback``."""
        if self._silent_until is not None and time.monotonic() < self._silent_until and not urgent:
            return None
        try:
            async with asyncio.timeout(_SLOWEST_SECONDS):
                given = await call()
        except Exception as error:
            if self._silent_until is None:
                logger.warning("the cache does not answer (%s: %s); results are computed", type(error).__name__, error)
            self._silent_until = time.monotonic() + _SILENCE_SECONDS
            return None
        if self._silent_until is not None:
            logger.warning("the cache answers again")
            self._silent_until = None
        return fallback if given is None else given

    # -------------------------------------------------------------------------------------------------- computing

    async def _computed(
        self, key: _Key, stamps: bytes | None, action: Action, keeping: Keeping, compute: Callable[[], Awaitable[Any]]
    ) -> tuple[_Made, bool]:
        """What one computation gives to all who ask meanwhile, and whether it is this caller's own."""
        # Whoever asks after an invalidation must not get what was begun before it.
        name = f"{key.entry} {stamps!r}"
        while True:
            flight = self._flights.get(name)
            leads = flight is None or flight.task.cancelled()
            if flight is None or leads:
                task = asyncio.create_task(self._fill(key, stamps, action, keeping, compute))
                flight = self._flights[name] = _Flight(task, keeping.outlives)
                task.add_done_callback(lambda done: self._landed(name, done))
            made = await flight.join(leads=leads)
            if made is not None:
                return made, leads

    def _landed(self, name: str, task: asyncio.Task[_Made]) -> None:
        if self._flights[name].task is task:
            del self._flights[name]
        if not task.cancelled():
            task.exception()  # whoever waited may be gone

    async def _fill(
        self, key: _Key, stamps: bytes | None, action: Action, keeping: Keeping, compute: Callable[[], Awaitable[Any]]
    ) -> _Made:
        if not hasattr(self.backend, "lock"):
            return await self._fill_alone(key, stamps, action, keeping, compute)
        name, owner = f"{key.entry}:lock", uuid4().hex
        while (held := await self._tried(lambda: self.backend.lock(name, owner, LEASE_SECONDS), False)) is False:
            await asyncio.sleep(_POLL_SECONDS)
            found, _ = await self._read(key, action, keeping)
            if found is not None:
                return found
        if held is None:
            return await self._fill_alone(key, None, action, keeping, compute)
        renewing = asyncio.create_task(self._renew(name, owner))
        try:
            found, stamps = await self._read(key, action, keeping)  # made between the first look and the lock
            return found or await self._fill_alone(key, stamps, action, keeping, compute)
        finally:
            renewing.cancel()
            await self._tried(lambda: self.backend.unlock(name, owner), False)

    async def _fill_alone(
        self, key: _Key, stamps: bytes | None, action: Action, keeping: Keeping, compute: Callable[[], Awaitable[Any]]
    ) -> _Made:
        value = await compute()
        content = self._content(action, value)
        if content is None:
            return _Made(value, None)
        kept = _Kept(self._clock(), content)
        if stamps is not None:
            entry = b"%.3f %s\n%s" % (kept.made_at, stamps, content)
            expire = None if isinf(keeping.ttl) else keeping.ttl
            await self._tried(lambda: self.backend.set(key.entry, entry, expire), True)
        return _Made(value, kept)

    async def _renew(self, name: str, owner: str) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            await self._tried(lambda: self.backend.extend(name, owner, LEASE_SECONDS), False)

    def _content(self, action: Action, value: Any) -> bytes | None:
        """A result as it is kept; None for one that would not come back as it was."""
        from starlette.responses import Response

        assert action.result is not None
        if isinstance(value, Response):
            return None
        try:
            content = action.result.dump_json(value, by_alias=False, round_trip=True, warnings=False)
            back = _value(action, content)
            if back == value or _shown(action, back) == _shown(action, value):
                return content
            problem = "it reads back as something else"
        except ValidationError as error:
            problem = _first(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}".partition("\n")[0]
        self._warn(action, f"its results are not kept on the server: JSON does not hold all of them: {problem}")
        return None

    def _warn(self, action: Action, text: str) -> None:
        if action.name not in self._warned:
            self._warned.add(action.name)
            logger.warning("action '%s' (%s): %s", action.name, action.place, text)


def _read_entry(entry: bytes | None, stamps: bytes, ttl: float, now: float) -> _Kept | None:
    if entry is None:
        return None
    head, _, content = entry.partition(b"\n")
    made_at, _, its_stamps = head.partition(b" ")
    try:
        kept = _Kept(float(made_at), content)
    except ValueError:
        return None
    return kept if its_stamps == stamps and now < kept.made_at + ttl else None


def _value(action: Action, content: bytes) -> Any:
    assert action.result is not None
    return action.result.validate_json(content, by_alias=False, by_name=True)


def _shown(action: Action, value: Any) -> bytes:
    assert action.result is not None
    return action.result.dump_json(value, by_alias=True, warnings=False)


def cache_of(settings: Settings) -> Any:
    """The backend that the settings ask for: Redis where there is one, else this process's memory. Errors: ConfigError."""
    try:
        from servey.backends import MemoryBackend, RedisBackend
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'keeping results on the server needs Servey\'s extra "standard" or "jobs" ({error}); '
            "or say TtlCacheControl(..., server=False)"
        ) from error
    if settings.redis_url is not None:
        return RedisBackend(settings.redis_url)
    return MemoryBackend(settings.cache_max_entries, settings.cache_max_bytes)


def invalidate(what: Callable[..., Any] | Action | str, /, **params: Any) -> Published:
    """Makes the server forget kept results: all of an action, those of one call with ``params``, or all with a tag.

    It may be left alone in a plain ``def`` and awaited elsewhere; then it is done when it comes back. What is being
    computed meanwhile is not kept.
    Errors: ServeyError for an action or a tag of which nothing is kept, and for parameters that are not the action's.
    """
    runtime = current_runtime()
    made = what if isinstance(what, Action) else None if isinstance(what, str) else get_action(what)
    if made is None and not isinstance(what, str):
        raise ServeyError(f"invalidate({what!r}): that is no action; give one, or a tag")
    if made is None and params:
        raise ServeyError(f"invalidate({what!r}): a tag has no parameters")
    kept = [
        action for action in runtime.catalog if runtime.plan(action).keeping and (action is made or what in action.tags)
    ]
    if not kept:
        raise ServeyError(f"invalidate({what if made is None else made.name!r}): the server keeps no results of it")
    name = f"tag:{what}" if made is None else f"action:{made.name}"
    if made is not None and params:
        name = f"call:{made.name}:{digest(_validated(made, params))}"
    longest = max(_longest(kept))
    return runtime.hand_over(lambda: runtime.cache.forget(runtime.cache.stamp(name), longest))


def _longest(actions: Iterable[Action]) -> Iterable[float]:
    """How long a result may be kept that is being computed now. Units: seconds, with a minute for clocks that differ."""
    for action in actions:
        assert isinstance(action.cache_control, TtlCacheControl)
        yield action.cache_control.ttl + action.timeout + 60


def _validated(action: Action, params: Mapping[str, Any]) -> dict[str, Any]:
    aliases = {param.name: param.alias for param in action.signature.client}
    try:
        values: dict[str, Any] = action.params.validator.validate_python(
            {aliases.get(name, name): value for name, value in params.items()}, extra="forbid"
        )
    except ValidationError as error:
        raise ServeyError(f"invalidate({action.name}): {_first(error)}") from None
    return values


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, found['loc'])) or 'result'}: {found['msg']}"
