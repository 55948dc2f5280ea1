"""Serves an app by uvicorn: with reload for development; for production so that no one notices when a process ends.

SIGTERM turns ``/health/ready`` to 503 and has every answer close its connection, while all is served as before: for the
drain time. Then streams and sockets are ended (`Runtime.lifespan`), what is being answered is finished, and the process
ends. A second SIGTERM, or Ctrl-C, does not wait for the drain time.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import os
import secrets
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.importer import ImportFromStringError, import_from_string

from servey.app import Servey, create_app
from servey.audit import RedisWatch, problems_of, relaxed_of
from servey.compat.uvicorn import in_headers, supervise
from servey.context import running_runtimes
from servey.errors import ConfigError
from servey.logs import log_as_json
from servey.runtime import Runtime
from servey.settings import Settings

DISCOVERED = "servey.server:discovered_app"
KEEP_ALIVE_SECONDS = 75
"""Longer than a proxy keeps a connection that it does not use, so that it is never the server that closes one first."""
START_SECONDS = 60
"""How long a worker process may take to start, or to answer its parent, before it is given up."""
RELOADED = ("*.py", "*.j2", "*.html")

WEBSOCKETS: dict[str, Any] = {
    "ws": "servey.ws.fanout:FanoutProtocol",
    "ws_max_size": 1 << 20,
    "ws_per_message_deflate": False,  # it costs each connection more memory than all the rest of it
}


def discovered_app() -> Servey:
    """The app of the project in the working directory, for uvicorn's processes to make.

    A project that can not be built ends the process with its problems and no traceback; under reload the next change
    of a file is the next try.
    """
    try:
        return create_app()
    except ConfigError as error:
        tell(error)
        sys.exit(1)


def tell(error: ConfigError) -> None:
    """Prints every problem, a line each."""
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr, flush=True)


def serve_dev(app: str | None, host: str | None, port: int | None) -> None:
    """Serves for development: reloads when a source or a template changes."""
    os.environ["SERVEY_ENV"] = "dev"
    settings = Settings()
    if settings.jwt_secret_key is None and settings.jwt_public_key is None and settings.jwks_url is None:
        # One secret for all processes and reloads of this start: a token stays good while one works.
        os.environ["JWT_SECRET_KEY"] = secrets.token_urlsafe(32)
        print("No JWT_SECRET_KEY is set: this start signs and verifies tokens with one of its own.", file=sys.stderr)
    if settings.login_password is None and settings.jwt_public_key is None and settings.jwks_url is None:
        os.environ["SERVEY_LOGIN_PASSWORD"] = password = secrets.token_urlsafe(9)
        print(f"Log in as '{settings.login_username}' with the password '{password}'.", file=sys.stderr)
    where = _address(settings, host, port)
    print(f"Serving on http://{where['host']}:{where['port']}/docs (Ctrl-C ends it)", file=sys.stderr, flush=True)
    uvicorn.run(
        app or DISCOVERED,
        factory=app is None,
        reload=True,
        reload_includes=list(RELOADED),
        timeout_graceful_shutdown=_whole_seconds(settings.grace),
        **WEBSOCKETS,
        **_logging(settings),
        **where,
    )


def serve(app: str | None, host: str | None, port: int | None, workers: int) -> None:
    """Serves for production. Errors: ConfigError that lists what stands against it."""
    settings = Settings()
    if settings.is_dev:
        raise ConfigError("SERVEY_ENV is dev, and `servey run` is for production; use `servey dev`, or do not set it")
    made = create_app() if app is None else _imported(app)
    runtime = getattr(made, "runtime", None)
    if runtime is not None:
        _check(runtime, workers)
        asyncio.run(RedisWatch(runtime.settings).look())
    config = uvicorn.Config(
        # One process serves the app that was just checked; several make their own.
        made if workers == 1 else app or DISCOVERED,
        factory=workers > 1 and app is None,
        workers=workers,
        timeout_graceful_shutdown=_whole_seconds(settings.grace),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
        forwarded_allow_ips=list(settings.trusted_proxies),
        server_header=False,
        access_log=False,
        **WEBSOCKETS,
        **_logging(settings),
        **_address(settings, host, port),
    )
    if settings.logs_json:
        log_as_json("DEBUG" if settings.debug else settings.log_level)
    if workers == 1:
        GracefulServer(config).run()
    else:
        supervise(config, GracefulServer)


def _check(runtime: Runtime, workers: int) -> None:
    problems = list(problems_of(runtime))
    if workers > 1 and runtime.settings.redis_url is None:
        problems.append(
            f"--workers {workers} needs a Redis: without one each process has its own schedules, jobs and event channels; "
            "set SERVEY_REDIS_URL, or serve by one process"
        )
    if problems:
        raise ConfigError(problems)
    relaxed = list(relaxed_of(runtime))
    if workers > 1 and runtime.settings.metrics:
        relaxed.append("/metrics is that of the process that happens to answer; let each container have one process")
    for each in relaxed:
        print(f"warning: {each}", file=sys.stderr, flush=True)


class GracefulServer(uvicorn.Server):
    """uvicorn's server, which drains before it ends, and does not wait for headers for ever."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._settings = Settings()
        self._draining = False
        self._end: Any = None
        self._in_headers_since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until a signal; ends with exit code 0 where that was SIGTERM."""
        writer = None
        if self._settings.logs_json:
            writer = log_as_json("DEBUG" if self._settings.debug else self._settings.log_level)
        try:
            super().run(sockets)
        finally:
            if writer is not None:
                writer.flush()

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super()._serve(sockets)
        # uvicorn would send itself the signal again, and die of it.
        self._captured_signals = [number for number in self._captured_signals if number != signal.SIGTERM]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to serve; from here on SIGTERM comes to us first."""
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            self._end = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda number, frame: self._asked_to_end(loop, number, frame))

    def _asked_to_end(self, loop: asyncio.AbstractEventLoop, number: int, frame: FrameType | None) -> None:
        if self._draining or self._settings.drain == 0:
            self._end(number, frame)
            return
        self._draining = True
        loop.call_soon_threadsafe(self._drain, loop, number)

    def _drain(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        logging.getLogger("servey").info("asked to end; serving on for %g s", self._settings.drain)
        for runtime in running_runtimes():
            runtime.drain()
        close = (b"connection", b"close")
        self.config.encoded_headers.append(close)
        self.server_state.default_headers = [*self.server_state.default_headers, close]
        loop.call_later(self._settings.drain, self._end, number, None)

    async def on_tick(self, counter: int) -> bool:
        """Looks after the connections once a second."""
        if counter % 10 == 0:
            self._end_slow_headers(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def _end_slow_headers(self, now: float) -> None:
        since = self._in_headers_since
        for connection in tuple(self.server_state.connections):
            if not in_headers(connection):
                since.pop(connection, None)
            elif now - since.setdefault(connection, now) > self._settings.body_timeout:
                connection.transport.close()


def _logging(settings: Settings) -> dict[str, Any]:
    """Our log beside uvicorn's, at the level that the settings say."""
    level = "DEBUG" if settings.debug else settings.log_level
    if settings.logs_json and not settings.is_dev:
        return {"log_config": None, "log_level": level.lower()}
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["servey"] = {"handlers": ["default"], "level": level, "propagate": False}
    return {"log_config": config, "log_level": level.lower()}


def _whole_seconds(seconds: float) -> int:
    return math.ceil(seconds)


def _address(settings: Settings, host: str | None, port: int | None) -> dict[str, Any]:
    return {"host": host or settings.host, "port": settings.port if port is None else port}


def _imported(app: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return import_from_string(app)
    except ImportFromStringError as error:
        raise ConfigError(f"{error}; say it as module:attribute, e.g. app:servey_app") from None
