"""What Starlette does with a scope's path, and whether something else stands in front of an app.

Source: starlette/_utils.py, starlette/applications.py, 1.0 to 1.10.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import starlette
from starlette._utils import get_route_path
from starlette.applications import Starlette

__all__ = ["get_route_path", "is_wrapped"]

if list(inspect.signature(get_route_path).parameters) != ["scope"]:
    raise ImportError(
        f"starlette {starlette.__version__} changed get_route_path(); "
        "install a version of starlette that this version of servey supports"
    )


def is_wrapped(app: Any) -> bool:
    """Whether something was put around an app in other ways than as its middleware, as tools that watch apps do."""
    calls = [(cls, vars(cls)["__call__"]) for cls in type(app).__mro__ if "__call__" in vars(cls)]
    return "build_middleware_stack" in vars(app) or any(
        call.__code__.co_filename != sys.modules[cls.__module__].__file__
        for cls, call in calls
        if issubclass(cls, Starlette)
    )
