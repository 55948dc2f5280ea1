"""Starlette's route path, and detection of wrapped apps.

Source: starlette/_utils.py, starlette/applications.py, 1.0 to 1.10.
"""

from __future__ import annotations

import inspect
from typing import Any

import starlette
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.requests import Request

from servey.compat.fastapi_routes import is_original

__all__ = ["get_route_path", "is_wrapped", "remember_body"]

if list(inspect.signature(get_route_path).parameters) != ["scope"]:
    raise ImportError(
        f"starlette {starlette.__version__} changed get_route_path(); "
        "install a version of starlette that this version of servey supports"
    )


def is_wrapped(app: Any) -> bool:
    """Whether an app is wrapped in another way than by its middleware, as monitoring tools do."""
    calls = [(cls, vars(cls)["__call__"]) for cls in type(app).__mro__ if "__call__" in vars(cls)]
    return "build_middleware_stack" in vars(app) or any(
        not is_original(call, cls.__module__) for cls, call in calls if issubclass(cls, Starlette)
    )


def remember_body(request: Request, raw: bytes) -> None:
    """Give a request the body that was read from its connection, so that it can be read again."""
    request._body = raw
