"""What must be so before an app serves: its settings are safe, and its Redis is one that it can use."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import logging
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from servey.channels import BackgroundActionChannel, WebhookEventChannel
from servey.errors import ConfigError
from servey.settings import Settings
from servey.tokens import NoKeyAuthorizer
from servey.triggers import CronTrigger, FixedRateTrigger

if TYPE_CHECKING:
    from servey.runtime import Runtime

logger = logging.getLogger("servey")

_ANSWER_SECONDS = 2.0
_BACKOFF_SECONDS = (0.2, 2.0)
_TELL_EVERY_SECONDS = 10.0
_FEW_CHARACTERS = 8


def problems_of(runtime: Runtime) -> Iterator[str]:
    """Why an app may not serve as it is set, a line each."""
    settings = runtime.settings
    guarded = runtime.guarded_action
    if guarded is not None and isinstance(runtime.authorizer, NoKeyAuthorizer):
        yield from guarded.problem(
            "is guarded and there is no key to verify tokens with; "
            "set JWT_SECRET_KEY (HS256), SERVEY_JWT_PUBLIC_KEY or SERVEY_JWKS_URL (RS256, ES256)"
        ).problems
    if settings.is_dev:
        return
    secret = settings.jwt_secret_key
    if secret is not None and len(set(secret)) < _FEW_CHARACTERS:
        yield "JWT_SECRET_KEY is easy to guess; make one, e.g. by: python -c 'import secrets; print(secrets.token_hex(32))'"
    if {"*", "0.0.0.0/0", "::/0"} & set(settings.trusted_proxies):
        yield "SERVEY_TRUSTED_PROXIES trusts everyone; name the address or the network of your proxy"
    if _is_open(settings):
        yield (
            "Redis is reached over the network with neither a password nor TLS; give SERVEY_REDIS_PASSWORD or a rediss:// "
            "address, or say by SERVEY_REDIS_TRUSTED=1 that nobody else reaches it"
        )


def relaxed_of(runtime: Runtime) -> Iterator[str]:
    """What is less strict than production's defaults, or less than one may think, a line each."""
    settings = runtime.settings
    if settings.is_dev:
        return
    if settings.serves_docs:
        yield "the documentation pages are served (SERVEY_DOCS)"
    if not settings.jwt_require_exp:
        yield "tokens that never expire are taken (SERVEY_JWT_REQUIRE_EXP)"
    if settings.login_password:
        yield "there is a login by password (SERVEY_LOGIN_PASSWORD)"
    if settings.redis_trusted and _is_open(settings, trusted=False):
        yield "Redis is reached with neither a password nor TLS (SERVEY_REDIS_TRUSTED)"
    catalog = runtime.catalog
    jobs = (*catalog.channels_of(BackgroundActionChannel), *catalog.channels_of(WebhookEventChannel))
    schedules = (*catalog.triggered_by(FixedRateTrigger), *catalog.triggered_by(CronTrigger))
    if settings.redis_url is None and (jobs or schedules):
        yield "jobs and schedules live in this process alone, and jobs that wait are lost with it; set SERVEY_REDIS_URL"


def _is_open(settings: Settings, *, trusted: bool | None = None) -> bool:
    if settings.redis_url is None or (settings.redis_trusted if trusted is None else trusted):
        return False
    parts = urlsplit(settings.redis_url)
    if parts.scheme != "redis" or parts.password:
        return False
    host = parts.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


class RedisWatch:
    """Looks at the app's Redis as it starts: what is wrong for good stops the start, what is late is waited for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Comes back when Redis has answered, or is late. Errors: ConfigError where it never will be right."""
        late = await self.look()
        if late is not None:
            logger.warning("Redis does not answer yet: %s; what needs it waits, and /health/ready says so", late)
            self._task = asyncio.create_task(self._wait(), name="waiting for Redis")

    async def end(self) -> None:
        """Stops waiting."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _wait(self) -> None:
        delay, longest = _BACKOFF_SECONDS
        loop = asyncio.get_running_loop()
        told = loop.time()
        while True:
            await asyncio.sleep(delay)
            delay = min(delay * 2, longest)
            try:
                late = await self.look()
            except ConfigError as error:
                # The process serves already, and something else may be wrong with it by tomorrow: it says so, and stays.
                logger.error("%s", error)
                return
            if late is None:
                logger.info("Redis answers")
                return
            if loop.time() - told > _TELL_EVERY_SECONDS:
                told = loop.time()
                logger.warning("Redis still does not answer: %s", late)

    async def look(self) -> str | None:
        """What is late; None where Redis has answered and is right, or there is none. Errors: ConfigError."""
        if self._settings.redis_url is None:
            return None
        redis: Any = await asyncio.to_thread(_import_redis)
        client = redis.Redis.from_url(
            self._settings.redis_url, socket_timeout=_ANSWER_SECONDS, socket_connect_timeout=_ANSWER_SECONDS
        )
        try:
            async with asyncio.timeout(2 * _ANSWER_SECONDS):
                facts: dict[str, Any] = await client.info()
        except redis.BusyLoadingError as error:
            return str(error)
        except (redis.AuthenticationError, redis.ResponseError) as error:
            # No permission to ask for facts is no reason not to serve.
            if "NOPERM" in str(error) or "no permissions" in str(error):
                return None
            raise ConfigError(f"SERVEY_REDIS_URL: Redis refuses us: {error}") from None
        except (redis.RedisError, OSError, TimeoutError) as error:
            if _is_about_tls(error):
                raise ConfigError(f"SERVEY_REDIS_URL: TLS to Redis fails: {_one_line(error)}") from None
            return _one_line(error) or type(error).__name__
        finally:
            with suppress(Exception):
                await client.aclose()
        self._judge(facts)
        return None

    def _judge(self, facts: dict[str, Any]) -> None:
        if self._settings.is_dev:
            return
        policy = facts.get("maxmemory_policy", "noeviction")
        if facts.get("maxmemory") and policy != "noeviction":
            raise ConfigError(
                f"Redis throws keys away when it is full (maxmemory-policy {policy}), jobs and events too; "
                "set maxmemory-policy noeviction, or give Servey a Redis of its own"
            )
        if not facts.get("aof_enabled", 1):
            logger.warning(
                "Redis keeps no append-only file (appendonly no): jobs since its last snapshot are lost with it"
            )


def _import_redis() -> Any:
    try:
        return importlib.import_module("redis.asyncio")
    except ModuleNotFoundError:
        raise ConfigError(
            'SERVEY_REDIS_URL needs Servey\'s extra "jobs"; in a clone: pip install -e ".[jobs]"'
        ) from None


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
