"""The server-side cache, with one computation for concurrent calls with the same key (single flight).

Results are stored as JSON, so that every caller gets its own object, and a compromised Redis cannot make this process
execute code. The key has the action, its parameters and, for private results, the caller. An entry also stores the stamps
of whatever `invalidate` can name; a changed stamp invalidates it, even if it was still being computed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import Context as ContextVariables
from dataclasses import dataclass, replace
from math import isinf
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

from pydantic import ValidationError

from servey.caching.flights import ComputationTimeout, Entry, Flight, Outcome
from servey.caching.kept import KeptResults
from servey.caching.keys import call_key, params_digest
from servey.caching.policy import ResultCachePolicy
from servey.core.actions import Action, get_action
from servey.core.cache import TtlCacheControl
from servey.core.canonical import NotPlainError
from servey.core.context import Context, current_process
from servey.core.errors import ConfigError, ServeyError, why_missing
from servey.core.messages import Published
from servey.observability.metrics import CACHE

if TYPE_CHECKING:
    from servey.core.settings import Settings

T = TypeVar("T")
logger: logging.Logger = logging.getLogger("servey")

LEASE_SECONDS = 5
"""How long others wait for a process that died during a computation."""
_POLL_SECONDS = 0.02
_TIMEOUT_SECONDS = 1.5
"""The time limit of a backend call, waiting for a connection included."""
_PAUSE_SECONDS = 5
"""How long a backend is not used after a failure."""


@dataclass(frozen=True)
class _Key:
    entry: str
    stamps: tuple[str, ...]


@dataclass(frozen=True)
class _Miss:
    """A call without a cached result: its key, and the function that computes the result."""

    key: _Key
    action: Action
    policy: ResultCachePolicy
    compute: Callable[[], Awaitable[Any]]


class Results:
    """The server-side cache of one app on one event loop."""

    def __init__(self, backend: Any, prefix: str, clock: Callable[[], float] = time.time) -> None:
        self.backend = backend
        self._prefix = prefix
        self._clock = clock
        self._flights: dict[str, Flight] = {}
        self._paused_until: float | None = None
        self._warned: set[str] = set()
        self.kept: KeptResults = KeptResults()

    async def result_of(
        self,
        action: Action,
        policy: ResultCachePolicy,
        values: Mapping[str, Any],
        context: Context,
        compute: Callable[[], Awaitable[Any]],
        *,
        before: ContextVariables | None = None,
    ) -> Any:
        """The cached result of a call, or the one that ``compute`` returns, which is then cached if possible.

        Shape: ``before`` are the context variables before the dependencies of the call ran.
        For a cached result, the context's ``made_at`` is set.
        Errors: whatever ``compute`` raises; errors are never cached.
        """
        try:
            key = await self._key(action, policy, values, context, before)
        except NotPlainError as error:
            self._warn(action, f"its results are not cached on the server, because a call has no cache key: {error}")
            return await compute()
        found, stamps = await self._read(key, action, policy)
        context.runtime.metrics.add(CACHE, action.name, "miss" if found is None else "hit")
        is_own = True
        if found is None:
            found, is_own = await self._computed(_Miss(key, action, policy, compute), stamps)
        if is_own and not found.elsewhere:
            return found.value
        if found.entry is None:
            return await compute()
        context.cached = found.entry
        return found.value if is_own else _value(action, found.entry.content)

    def peek(self, keys: tuple[str, ...]) -> Sequence[bytes | None] | None:
        """The values of some keys if the backend has them in this process, else None: then `read` has to be awaited."""
        peek_many = getattr(self.backend, "peek_many", None)
        return None if peek_many is None else cast("Sequence[bytes | None] | None", peek_many(keys))

    async def read(self, keys: tuple[str, ...]) -> Sequence[bytes | None] | None:
        """The values of some keys; None if the backend does not answer."""
        return await self._call_backend(lambda: self._get_many(keys), None)

    def is_fresh(self, made_at: float, ttl: float) -> bool:
        """Whether a result has not expired."""
        return self._clock() < made_at + ttl

    async def forget(self, stamp: str, longest: float) -> None:
        """Invalidate every entry with a stamp. Units: ``longest`` is the remaining lifetime of such an entry in seconds."""
        expire = None if isinf(longest) else longest
        done = await self._call_backend(
            lambda: self.backend.set(stamp, uuid4().hex.encode(), expire), True, urgent=True
        )
        if done is not True:
            logger.error("the cache could not be invalidated ('%s'); its entries stay valid until they expire", stamp)

    async def check(self) -> None:
        """Check that the backend answers. Errors: whatever it raises if it does not."""
        await self.backend.get(self.stamp("check"))

    async def aclose(self) -> None:
        """Close the backend."""
        close = getattr(self.backend, "aclose", None)
        if close is not None:
            await close()

    # ------------------------------------------------------------------------------------------------------- keys

    async def _key(
        self,
        action: Action,
        policy: ResultCachePolicy,
        values: Mapping[str, Any],
        context: Context,
        before: ContextVariables | None,
    ) -> _Key:
        params, whole = await call_key(policy, values, context, before)
        stamps = (f"action:{action.name}", f"call:{action.name}:{params}", *(f"tag:{tag}" for tag in action.tags))
        return _Key(self.entry_key(action.name, whole), tuple(map(self.stamp, stamps)))

    def entry_key(self, action: str, digest: str) -> str:
        """The key of a stored result: of an action, and the digest of everything that the result depends on."""
        return f"{self._prefix}:result:{action}:{digest}"

    def stamp(self, what: str) -> str:
        """The key of a stamp: of an action, of one call of it, or of a tag."""
        return f"{self._prefix}:stamp:{what}"

    # ---------------------------------------------------------------------------------------------------- backend

    async def _read(self, key: _Key, action: Action, policy: ResultCachePolicy) -> tuple[Outcome | None, bytes | None]:
        """The valid entry, if any, and the current stamps; no stamps if the backend does not answer."""
        keys = (key.entry, *key.stamps)
        found = await self.read(keys)
        if found is None:
            return None, None
        stamps = b",".join(each or b"" for each in found[1:])
        entry = _read_entry(found[0], stamps, policy.ttl, self._clock())
        entry = None if entry is None else replace(entry, keys=keys, read=found)
        try:
            return (None if entry is None else Outcome(_value(action, entry.content), entry, elsewhere=True)), stamps
        except ValidationError:
            return None, stamps  # stored by another version of the app

    async def _get_many(self, keys: tuple[str, ...]) -> list[bytes | None]:
        get_many = getattr(self.backend, "get_many", None)
        if get_many is not None:
            return cast(list[bytes | None], await get_many(keys))
        return [await self.backend.get(key) for key in keys]

    async def _call_backend(
        self, call: Callable[[], Awaitable[T]], fallback: T | None, *, urgent: bool = False
    ) -> T | None:
        """The result of a backend call, ``fallback`` instead of None, or None if the backend does not answer."""
        if self._paused_until is not None and time.monotonic() < self._paused_until and not urgent:
            return None
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                result = await call()
        except Exception as error:
            if self._paused_until is None:
                logger.warning("the cache does not answer (%s: %s); results are computed", type(error).__name__, error)
            self._paused_until = time.monotonic() + _PAUSE_SECONDS
            return None
        if self._paused_until is not None:
            logger.warning("the cache answers again")
            self._paused_until = None
        return fallback if result is None else result

    # -------------------------------------------------------------------------------------------------- computing

    async def _computed(self, miss: _Miss, stamps: bytes | None) -> tuple[Outcome, bool]:
        """The outcome of a computation that concurrent callers share, and whether this caller started it."""
        # A call after an invalidation must not get a computation that started before it.
        name = f"{miss.key.entry} {stamps!r}"
        while True:
            flight = self._flights.get(name)
            leads = flight is None or flight.task.done()
            if flight is None or leads:
                task = asyncio.create_task(self._fill(miss, stamps))
                flight = self._flights[name] = Flight(task, miss.policy.outlives)
                task.add_done_callback(lambda done: self._on_done(name, done))
            made = await flight.join(leads=leads)
            if made is not None:
                return made, leads

    def _on_done(self, name: str, task: asyncio.Task[Outcome]) -> None:
        if (flight := self._flights.get(name)) is not None and flight.task is task:
            del self._flights[name]
        if not task.cancelled():
            task.exception()  # marks it as retrieved, because every waiting caller may have left

    async def _fill(self, miss: _Miss, stamps: bytes | None) -> Outcome:
        if not hasattr(self.backend, "lock"):
            return await self._fill_alone(miss, stamps)
        name, owner = f"{miss.key.entry}:lock", uuid4().hex
        while (held := await self._call_backend(lambda: self.backend.lock(name, owner, LEASE_SECONDS), False)) is False:
            await asyncio.sleep(_POLL_SECONDS)
            found, _ = await self._read(miss.key, miss.action, miss.policy)
            if found is not None:
                return found
        if held is None:
            return await self._fill_alone(miss, None)
        renewing = asyncio.create_task(self._renew(name, owner))
        try:
            # The result may have been stored between the first read and the lock.
            found, stamps = await self._read(miss.key, miss.action, miss.policy)
            return found or await self._fill_alone(miss, stamps)
        finally:
            renewing.cancel()
            await self._call_backend(lambda: self.backend.unlock(name, owner), False)

    async def _fill_alone(self, miss: _Miss, stamps: bytes | None) -> Outcome:
        deadline = asyncio.timeout(miss.action.timeout)
        try:
            async with deadline:
                value = await miss.compute()
        except TimeoutError:
            if deadline.expired():
                raise ComputationTimeout(miss.action.timeout) from None
            raise
        content = self._content(miss.action, value)
        if content is None:
            return Outcome(value, None)
        made = Entry(self._clock(), content)
        if stamps is not None:
            stored = b"%.3f %s\n%s" % (made.made_at, stamps, content)
            expire = None if isinf(miss.policy.ttl) else miss.policy.ttl
            await self._call_backend(lambda: self.backend.set(miss.key.entry, stored, expire), True)
        return Outcome(value, made)

    async def _renew(self, name: str, owner: str) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            await self._call_backend(lambda: self.backend.extend(name, owner, LEASE_SECONDS), False)

    def _content(self, action: Action, value: Any) -> bytes | None:
        """A result as JSON, or None if it would not read back as the same value."""
        from starlette.responses import Response

        assert action.result is not None
        if isinstance(value, Response):
            return None
        try:
            content = action.result.dump_json(value, by_alias=False, round_trip=True, warnings=False)
            back = _value(action, content)
            if back == value or _shown(action, back) == _shown(action, value):
                return content
            problem = "it reads back as another value"
        except ValidationError as error:
            problem = _first(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}".partition("\n")[0]
        self._warn(action, f"its results are not cached on the server, because JSON cannot represent them: {problem}")
        return None

    def _warn(self, action: Action, text: str) -> None:
        if action.name not in self._warned:
            self._warned.add(action.name)
            logger.warning("action '%s' (%s): %s", action.name, action.place, text)


def _read_entry(entry: bytes | None, stamps: bytes, ttl: float, now: float) -> Entry | None:
    if entry is None:
        return None
    head, _, content = entry.partition(b"\n")
    made_at, _, its_stamps = head.partition(b" ")
    try:
        read = Entry(float(made_at), content)
    except ValueError:
        return None
    return read if its_stamps == stamps and now < read.made_at + ttl else None


def _value(action: Action, content: bytes) -> Any:
    assert action.result is not None
    return action.result.validate_json(content, by_alias=False, by_name=True)


def _shown(action: Action, value: Any) -> bytes:
    assert action.result is not None
    return action.result.dump_json(value, by_alias=True, warnings=False)


def cache_of(settings: Settings) -> Any:
    """The backend that the settings select: Redis if configured, else memory. Errors: ConfigError."""
    try:
        if settings.redis_url is not None:
            from servey.caching.redis_backend import RedisBackend

            return RedisBackend(settings.redis_url, settings.redis_prefix)
        from servey.caching.memory_backend import MemoryBackend
    except ModuleNotFoundError as error:
        text = (
            f"caching results on the server: {why_missing(error) or error}; or use TtlCacheControl(..., server=False)"
        )
        raise ConfigError(text) from error
    return MemoryBackend(settings.cache_max_entries, settings.cache_max_bytes)


def invalidate(what: Callable[..., Any] | Action | str, /, **params: Any) -> Published:
    """Invalidate cached results: all of an action, those of one call with ``params``, or all with a tag.

    In an ``async def``, await it; in a plain ``def``, call it. A result that is being computed meanwhile is not cached.
    Errors: ServeyError for an action or a tag without cached results, and for parameters that the action does not have.
    """
    made = what if isinstance(what, Action) else None if isinstance(what, str) else get_action(what)
    if made is None and not isinstance(what, str):
        raise ServeyError(f"invalidate({what!r}): that is not an action; pass an action or a tag")
    if made is None and params:
        raise ServeyError(f"invalidate({what!r}): a tag has no parameters")
    runtime = current_process(lambda process: any(each is made or what in each.tags for each in process.catalog))
    cached = [
        action
        for action in runtime.catalog
        if runtime.plan(action).cache_policy and (action is made or what in action.tags)
    ]
    if not cached:
        raise ServeyError(
            f"invalidate({what if made is None else made.name!r}): the server does not cache results of it"
        )
    name = f"tag:{what}" if made is None else f"action:{made.name}"
    if made is not None and params:
        name = f"call:{made.name}:{params_digest(_validated(made, params))}"
    longest = max(_longest(cached))
    return runtime.submit(lambda: runtime.cache.forget(runtime.cache.stamp(name), longest))


def _longest(actions: Iterable[Action]) -> Iterable[float]:
    """How long results that are being computed now may be cached. Units: seconds, with a minute for clock differences."""
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
