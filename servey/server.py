"""Serves an app with uvicorn: with reload in development, with graceful shutdown in production.

After SIGTERM, ``/health/ready`` returns 503 and every response closes its connection; requests are still served for the
drain time. Then streams and sockets are closed (`Runtime.lifespan`), requests in progress finish, and the process exits.
A second SIGTERM, or Ctrl-C, skips the drain time.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import logging
import math
import os
import secrets
import signal
import socket
import stat
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from servey.compat.uvicorn import QuietServer, in_headers, is_websocket, supervise, unread_bytes
from servey.core.context import running_processes
from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.core.settings.env_file import read_env_file
from servey.development import colored, refuses_colors, remembering_reloads
from servey.observability.logs import log_as_json
from servey.project import load_project
from servey.runtime.garbage import keep_start_out_of_collections
from servey.runtime.runtime import Runtime
from servey.runtime.startup_checks import RedisWatch, list_relaxed_settings, problems_of
from servey.runtime.systemd import READY, STOPPING, notify

DISCOVERED = "servey.server:discovered_app"
DEVELOPED = "servey.development:dev_app"
KEEP_ALIVE_SECONDS = 75
"""Longer than the idle timeout of common reverse proxies, so that the server never closes a connection first."""
START_SECONDS = 60
"""How long a worker process may take to start or to answer its parent before it is replaced."""
UNREAD_SECONDS = 60
"""How long a client may read nothing of what was sent to it before its connection is aborted."""
UNIX_PEER = "unix:"
"""The client of a Unix socket, as nginx names it."""
_LONGEST_SOCKET_PATH = 103
"""Source: sys/un.h; macOS has 104 bytes with the last zero, Linux 108."""
RELOADED = ("*.py", "*.j2", "*.html")

WEBSOCKETS: dict[str, Any] = {
    "ws": "servey.ws.fanout:FanoutProtocol",
    "ws_max_size": 1 << 20,
    "ws_per_message_deflate": False,  # compression needs more memory than the rest of a connection
}


def discovered_app() -> Any:
    """Build the app of the project in the working directory; uvicorn's processes call this.

    If the project has problems, print them without a traceback and exit.
    """
    try:
        project = load_project()
        if project.servey is not None:
            project.servey.check_variables()
    except ConfigError as error:
        print_problems(error)
        sys.exit(1)
    return project.app


def print_problems(error: ConfigError) -> None:
    """Print one line for each problem."""
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr, flush=True)


def serve_dev(host: str | None, port: int | None) -> None:
    """Serve for development: reload when a source file or a template changes."""
    read_env_file(default=True)
    os.environ["SERVEY_ENV"] = "dev"
    settings = Settings()
    if settings.jwt_secret_key is None and settings.jwt_public_key is None and settings.jwks_url is None:
        # All processes and reloads of this start share one secret, so tokens stay valid across reloads.
        os.environ["SERVEY_JWT_SECRET_KEY"] = secrets.token_urlsafe(32)
        print("No JWT_SECRET_KEY is set: tokens are signed with a key generated for this run.", file=sys.stderr)
    if settings.login_password is None and settings.jwt_public_key is None and settings.jwks_url is None:
        os.environ["SERVEY_LOGIN_PASSWORD"] = password = secrets.token_urlsafe(9)
        print(f"Log in as '{settings.login_username}' with the password '{password}'.", file=sys.stderr)
    where = _address(settings, host, port)
    if host is not None:
        os.environ["SERVEY_HOST"] = host
        os.environ.pop("SERVEY_HOST_FILE", None)
    _check_port(**where)
    url = f"http://{where['host']}:{where['port']}"
    print(f"Serving on {colored(f'{url}/docs', 'cyan')} (Ctrl-C ends it)", file=sys.stderr)
    print(f"The console is at {colored(f'{url}/_servey', 'cyan')}", file=sys.stderr, flush=True)
    with remembering_reloads():
        uvicorn.run(
            DEVELOPED,
            factory=True,
            reload=True,
            reload_includes=list(RELOADED),
            timeout_graceful_shutdown=_whole_seconds(settings.grace),
            **WEBSOCKETS,
            **_logging(settings),
            **where,
        )


def serve(
    host: str | None,
    port: int | None,
    workers: int,
    *,
    uds: str | None = None,
    fd: int | None = None,
    by_granian: bool = False,
) -> None:
    """Serve for production, on a port, a Unix socket or an open socket.

    Errors: ConfigError with one line for each unsafe setting.
    """
    settings = Settings()
    where = _listening_on(settings, host, port, uds, fd)
    if by_granian:
        _granian().check(where, workers)
    if settings.is_dev:
        raise ConfigError("SERVEY_ENV is dev, and `servey run` is for production; use `servey dev`, or do not set it")
    project = load_project()
    if project.servey is not None:
        project.servey.check_variables()
        _check(project.servey.runtime, workers)
        asyncio.run(RedisWatch(project.servey.runtime.settings).probe())
    if "port" in where:
        _check_port(**where)
    config = uvicorn.Config(
        # One process serves the app that was just checked; several processes build their own.
        project.app if workers == 1 else DISCOVERED,
        factory=workers > 1,
        workers=workers,
        timeout_graceful_shutdown=_whole_seconds(settings.grace),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
        forwarded_allow_ips=[*settings.trusted_proxies, *([UNIX_PEER] if _is_unix(where) else [])],
        server_header=False,
        access_log=False,
        **WEBSOCKETS,
        **_logging(settings),
        **where,
    )
    if settings.logs_json and not by_granian:
        log_as_json("DEBUG" if settings.debug else settings.log_level)
    try:
        if by_granian:
            _granian().run(_behind_proxies(project.app, config), settings, where)
        elif workers == 1:
            GracefulServer(config).run()
        else:
            from servey.observability.shared_metrics import shared_by_processes  # only several processes need it

            with shared_by_processes(settings):
                supervise(config, GracefulServer)
    finally:
        if uds is not None:
            Path(uds).unlink(missing_ok=True)


def _is_unix(where: dict[str, Any]) -> bool:
    """Whether clients connect to a Unix socket: at a path, or opened by the parent process."""
    if "fd" not in where:
        return "uds" in where
    with socket.socket(fileno=os.dup(where["fd"])) as passed:
        return passed.family == socket.AF_UNIX


def _granian() -> Any:
    try:
        from servey import granian_server
    except ModuleNotFoundError as error:
        if error.name != "granian":
            raise
        raise ConfigError(
            '--server granian needs the extra "granian"; in a clone: pip install -e ".[granian]"'
        ) from None
    return granian_server


def _listening_on(
    settings: Settings, host: str | None, port: int | None, uds: str | None, fd: int | None
) -> dict[str, Any]:
    """Return where uvicorn listens. Errors: ConfigError if the options exclude each other, or it cannot listen there."""
    if sum(given for given in (uds is not None, fd is not None, host is not None or port is not None)) > 1:
        raise ConfigError("--uds, --fd and an address (--host, --port) exclude each other; use one of them")
    if uds is not None:
        _check_unix_socket(Path(uds))
        return {"uds": uds}
    if fd is not None:
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            is_socket = False
        if not is_socket:
            raise ConfigError(f"--fd {fd} is not an open socket of this process; systemd passes its first socket as 3")
        return {"fd": fd}
    return _address(settings, host, port)


def _check(runtime: Runtime, workers: int) -> None:
    problems = list(problems_of(runtime.settings, runtime.authorizer, runtime.guarded_action, runtime.catalog))
    if workers > 1 and runtime.settings.redis_url is None:
        problems.append(
            f"--workers {workers} needs Redis: without it each process has its own schedules, jobs and event channels; "
            "set SERVEY_REDIS_URL, or run one process"
        )
    if problems:
        raise ConfigError(problems)
    for each in list_relaxed_settings(runtime.settings, runtime.catalog):
        print(f"warning: {each}", file=sys.stderr, flush=True)


class GracefulServer(QuietServer):
    """uvicorn's server with a drain time before shutdown, and timeouts for request headers and for clients that stall."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._settings = Settings()
        self._draining = False
        self._end: Any = None
        self._in_headers_since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        # The bytes that a client has not read yet, and since when it has read none of them.
        self._unread_since: WeakKeyDictionary[Any, tuple[int, float]] = WeakKeyDictionary()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal arrives; the exit code is 0 after SIGTERM."""
        writer = None
        if self._settings.logs_json:
            writer = log_as_json("DEBUG" if self._settings.debug else self._settings.log_level)
        try:
            super().run(sockets)
        finally:
            if writer is not None:
                writer.flush()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving and install our SIGTERM handler before uvicorn's."""
        if UNIX_PEER in self.config.forwarded_allow_ips:
            self.config.loaded_app = _with_unix_peer(self.config.loaded_app)
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            self._end = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda number, frame: self._asked_to_end(loop, number, frame))
        if not self.should_exit:
            keep_start_out_of_collections()
            notify(READY)

    def _asked_to_end(self, loop: asyncio.AbstractEventLoop, number: int, frame: FrameType | None) -> None:
        if self._draining or self._settings.drain == 0:
            self._end(number, frame)
            return
        self._draining = True
        self._say_stopping()
        loop.call_soon_threadsafe(self._drain, loop, number)

    def _drain(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        logging.getLogger("servey").info("shutting down; still serving for %g s", self._settings.drain)
        for runtime in running_processes():
            runtime.drain()
        close = (b"connection", b"close")
        self.config.encoded_headers.append(close)
        self.server_state.default_headers = [*self.server_state.default_headers, close]
        loop.call_later(self._settings.drain, self._end, number, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, read the requests that have arrived, then close idle connections and complete the others."""
        if not self._draining:
            self._say_stopping()
        for server in self.servers:
            server.close()
        await asyncio.sleep(0.1)  # uvicorn takes a connection whose request was not read yet for an idle one
        await super().shutdown(sockets)

    def _say_stopping(self) -> None:
        # One of several processes may stop to be replaced, while the service goes on.
        if self.config.workers == 1:
            notify(STOPPING)

    async def on_tick(self, counter: int) -> bool:
        """End connections with slow headers and of clients that do not read; runs once a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            self._end_slow_headers(now)
            self._end_stalled(now)
        return await super().on_tick(counter)

    def _end_stalled(self, now: float) -> None:
        """Abort connections whose client reads nothing: closing them would wait for it.

        An open websocket has a bound of its own for what is not read.
        """
        since = self._unread_since
        for connection in tuple(self.server_state.connections):
            unread = unread_bytes(connection)
            if not unread or (is_websocket(connection) and not connection.transport.is_closing()):
                since.pop(connection, None)
                continue
            before, at = since.get(connection, (None, now))
            if unread != before:
                since[connection] = unread, now
            elif now - at > UNREAD_SECONDS:
                connection.transport.abort()

    def _end_slow_headers(self, now: float) -> None:
        since = self._in_headers_since
        for connection in tuple(self.server_state.connections):
            if not in_headers(connection):
                since.pop(connection, None)
            elif now - since.setdefault(connection, now) > self._settings.body_timeout:
                connection.transport.close()


def _behind_proxies(app: Any, config: uvicorn.Config) -> Any:
    """Return the app with the headers of trusted proxies read as uvicorn reads them."""
    trusted: Any = config.forwarded_allow_ips
    app = ProxyHeadersMiddleware(app, trusted_hosts=trusted)
    return _with_unix_peer(app) if UNIX_PEER in trusted else app


def _with_unix_peer(app: Any) -> Any:
    """Return the app with a client ``unix:`` where the peer of a Unix socket has no address.

    uvicorn then reads the peer's X-Forwarded headers as those of every trusted proxy: the caller is the last address that
    no trusted proxy has, and not the first one, which a client can send.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" and not scope.get("client"):
            scope["client"] = (UNIX_PEER, 0)
        await app(scope, receive, send)

    return serve


def _logging(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's log configuration with our logger added."""
    level = "DEBUG" if settings.debug else settings.log_level
    if settings.logs_json and not settings.is_dev:
        return {"log_config": None, "log_level": level.lower()}
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["servey"] = {"handlers": ["default"], "level": level, "propagate": False}
    return {"log_config": config, "log_level": level.lower(), "use_colors": False if refuses_colors() else None}


def _whole_seconds(seconds: float) -> int:
    return math.ceil(seconds)


def _address(settings: Settings, host: str | None, port: int | None) -> dict[str, Any]:
    return {"host": host or settings.host, "port": settings.port if port is None else port}


def _check_unix_socket(path: Path) -> None:
    """Check that a process can listen at a path; remove a socket there that nobody listens on. Errors: ConfigError."""
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--uds {path}: the folder {path.parent} does not exist or is not writable")
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ConfigError(
            f"--uds {path}: a socket's path has at most {_LONGEST_SOCKET_PATH} bytes; choose a shorter one"
        )
    if path.exists() and not path.is_socket():
        raise ConfigError(f"--uds {path} is a file already, and not a socket; choose another path")
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise ConfigError(f"--uds {path} is in use; stop the other process, or choose another path")
        path.unlink()


def _check_port(host: str, port: int) -> None:
    """Check that the address is free. Errors: ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = "is in use; stop the other process"
            else:
                reason = f"cannot be used ({error.strerror or error})"
            raise ConfigError(f"port {port} of {host} {reason}, or choose another by --port or SERVEY_PORT") from None
