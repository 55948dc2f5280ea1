"""Serves an app by uvicorn: with reload for development, without for production.

Open streams end by themselves when the process is asked to end (`Runtime.lifespan`), so that it ends at once.
"""

from __future__ import annotations

import copy
import os
import secrets
import sys
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG
from uvicorn.importer import ImportFromStringError, import_from_string

from servey.app import Servey, create_app
from servey.errors import ConfigError
from servey.settings import Settings

DISCOVERED = "servey.server:discovered_app"
GRACE_SECONDS = 10
"""How long requests that are being answered may take when the process is asked to end."""
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
        timeout_graceful_shutdown=GRACE_SECONDS,
        **WEBSOCKETS,
        **_logging(settings),
        **where,
    )


def serve(app: str | None, host: str | None, port: int | None, workers: int) -> None:
    """Serves for production. Errors: ConfigError that lists what stands against it."""
    settings = Settings()
    made = create_app() if app is None else _imported(app)
    runtime = getattr(made, "runtime", None)
    if runtime is not None:
        runtime.check_settings()
    # One process serves the app that was just checked; several make their own.
    served: Any = made if workers == 1 else app or DISCOVERED
    uvicorn.run(
        served,
        factory=workers > 1 and app is None,
        workers=workers,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **WEBSOCKETS,
        **_logging(settings),
        **_address(settings, host, port),
    )


def _logging(settings: Settings) -> dict[str, Any]:
    """Our log beside uvicorn's, at the level that the settings say."""
    level = "DEBUG" if settings.debug else settings.log_level
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["servey"] = {"handlers": ["default"], "level": level, "propagate": False}
    return {"log_config": config, "log_level": level.lower()}


def _address(settings: Settings, host: str | None, port: int | None) -> dict[str, Any]:
    return {"host": host or settings.host, "port": settings.port if port is None else port}


def _imported(app: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return import_from_string(app)
    except ImportFromStringError as error:
        raise ConfigError(f"{error}; say it as module:attribute, e.g. app:servey_app") from None
