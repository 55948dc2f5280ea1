"""Checks before an app serves: its settings are safe, and its Redis is usable."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import logging
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from servey.auth.tokens import NoKeyAuthorizer
from servey.core.actions import Action
from servey.core.catalog import Catalog
from servey.core.channels import BackgroundActionChannel, WebhookEventChannel
from servey.core.errors import ConfigError, why_missing
from servey.core.settings import Settings
from servey.core.triggers import CronTrigger, FixedRateTrigger

logger: logging.Logger = logging.getLogger("servey")

_ANSWER_SECONDS = 2.0
_BACKOFF_SECONDS = (0.2, 2.0)
_LOG_EVERY_SECONDS = 10.0
_FEW_CHARACTERS = 8


def problems_of(settings: Settings, authorizer: Any, guarded: Action | None, catalog: Catalog) -> Iterator[str]:
    """Reasons not to serve with these settings, one line each."""
    if guarded is not None and isinstance(authorizer, NoKeyAuthorizer):
        secret = "SERVEY_JWT_SECRET_KEY" if settings.only_prefix else "JWT_SECRET_KEY"
        yield from guarded.problem(
            "is guarded and there is no key to verify tokens with; "
            f"set {secret} (HS256), SERVEY_JWT_PUBLIC_KEY or SERVEY_JWKS_URL (RS256, ES256)"
        ).problems
    if settings.is_dev:
        return
    paged = next((action for action in catalog if action.cursor is not None), None)
    if paged is not None and not (settings.cursor_key or settings.jwt_secret_key):
        yield from paged.problem(
            "returns a Page and there is no key to sign its cursors with; set SERVEY_CURSOR_KEY to a random secret, "
            "e.g. python -c 'import secrets; print(secrets.token_hex(32))'"
        ).problems
    key = settings.jwt_secret_key
    if key is not None and len(set(key)) < _FEW_CHARACTERS:
        yield "JWT_SECRET_KEY is easy to guess; create one: python -c 'import secrets; print(secrets.token_hex(32))'"
    if {"*", "0.0.0.0/0", "::/0"} & set(settings.trusted_proxies):
        yield "SERVEY_TRUSTED_PROXIES trusts everyone; name the address or the network of your proxy"
    if _is_open(settings):
        yield (
            "Redis is reached over the network without a password or TLS; set SERVEY_REDIS_PASSWORD, use a rediss:// "
            "address, or set SERVEY_REDIS_TRUSTED=1 if nobody else can reach it"
        )


def list_relaxed_settings(settings: Settings, catalog: Catalog) -> Iterator[str]:
    """Settings that are less strict than the defaults of production, one line each."""
    if settings.is_dev:
        return
    if settings.serves_docs:
        yield "the documentation pages are served (SERVEY_DOCS)"
    if not settings.jwt_require_exp:
        yield "tokens without an expiry are accepted (SERVEY_JWT_REQUIRE_EXP)"
    if settings.login_password:
        yield "login with a password is enabled (SERVEY_LOGIN_PASSWORD)"
    if settings.redis_trusted and _is_open(settings, trusted=False):
        yield "Redis is reached without a password or TLS (SERVEY_REDIS_TRUSTED)"
    jobs = (*catalog.channels_of(BackgroundActionChannel), *catalog.channels_of(WebhookEventChannel))
    schedules = (*catalog.triggered_by(FixedRateTrigger), *catalog.triggered_by(CronTrigger))
    if settings.redis_url is None and (jobs or schedules):
        yield "jobs and schedules run in this process only, and waiting jobs are lost when it ends; set SERVEY_REDIS_URL"


def _is_open(settings: Settings, *, trusted: bool | None = None) -> bool:
    if settings.redis_url is None or (settings.redis_trusted if trusted is None else trusted):
        return False
    parts = urlsplit(settings.redis_url)
    if parts.scheme.partition("+")[0] != "redis" or parts.password:
        return False
    host = parts.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


class RedisWatch:
    """Checks Redis at startup: a permanent error stops the start, a Redis that does not answer yet is waited for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check Redis once; if it does not answer, keep checking in the background. Errors: ConfigError."""
        problem = await self.probe()
        if problem is not None:
            logger.warning("Redis does not answer yet: %s; /health/ready answers 503 until it does", problem)
            self._task = asyncio.create_task(self._wait(), name="waiting for Redis")

    async def stop(self) -> None:
        """Stop checking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _wait(self) -> None:
        delay, longest = _BACKOFF_SECONDS
        loop = asyncio.get_running_loop()
        logged_at = loop.time()
        while True:
            await asyncio.sleep(delay)
            delay = min(delay * 2, longest)
            try:
                problem = await self.probe()
            except ConfigError as error:
                # The process already serves requests, so it reports the error and continues.
                logger.error("%s", error)
                return
            except Exception:
                logger.exception("checking Redis failed; trying again")
                continue
            if problem is None:
                logger.info("Redis answers")
                return
            if loop.time() - logged_at > _LOG_EVERY_SECONDS:
                logged_at = loop.time()
                logger.warning("Redis still does not answer: %s", problem)

    async def probe(self) -> str | None:
        """Why Redis does not answer, or None if it does or none is configured. Errors: ConfigError if it is unusable."""
        if self._settings.redis_url is None:
            return None
        redis: Any = await asyncio.to_thread(import_redis)
        from servey.compat.redis_location import async_pool

        client = redis.Redis.from_pool(
            async_pool(
                self._settings.redis_url,
                self._settings.redis_prefix,
                socket_timeout=_ANSWER_SECONDS,
                socket_connect_timeout=_ANSWER_SECONDS,
            )
        )
        try:
            async with asyncio.timeout(2 * _ANSWER_SECONDS):
                facts: dict[str, Any] = await client.info()
        except redis.BusyLoadingError as error:
            return str(error)
        except (redis.AuthenticationError, redis.ResponseError) as error:
            # A user without permission for INFO may still have every other permission that is needed.
            if "NOPERM" in str(error) or "no permissions" in str(error):
                return None
            raise ConfigError(f"SERVEY_REDIS_URL: Redis refuses the connection: {error}") from None
        except (redis.RedisError, OSError, TimeoutError) as error:
            if _is_about_tls(error):
                raise ConfigError(f"SERVEY_REDIS_URL: the TLS connection to Redis fails: {_one_line(error)}") from None
            return _one_line(error) or type(error).__name__
        finally:
            with suppress(Exception):
                await client.aclose()
        self._check_configuration(facts)
        return None

    def _check_configuration(self, facts: dict[str, Any]) -> None:
        if self._settings.is_dev:
            return
        policy = facts.get("maxmemory_policy", "noeviction")
        if facts.get("maxmemory") and policy != "noeviction":
            raise ConfigError(
                f"Redis evicts keys when it is full (maxmemory-policy {policy}), jobs and events included; "
                "set maxmemory-policy noeviction, or use a separate Redis for Servey"
            )
        if not facts.get("aof_enabled", 1):
            logger.warning(
                "Redis has no append-only file (appendonly no); if it stops, jobs since its last snapshot are lost"
            )


def import_redis() -> Any:
    """Import the Redis client. Errors: ConfigError that names the missing extra."""
    try:
        return importlib.import_module("redis.asyncio")
    except ModuleNotFoundError as error:
        raise ConfigError(f"SERVEY_REDIS_URL: {why_missing(error) or error}") from None


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
