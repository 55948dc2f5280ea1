"""Servey: one decorated Python function becomes everything that its users need from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servey import seed_imports as _seed_imports
from servey.access import ALLOW_ALL, ALLOW_NONE, Authorization, ScopeAccessControl
from servey.actions import BatchInvoker, Example, action
from servey.cache import SecureHashCacheControl, TimestampCacheControl, TtlCacheControl
from servey.channels import background_action_channel, webhook_event_channel, websocket_event_channel
from servey.context import Context
from servey.errors import ActionError, ConfigError, Conflict, Forbidden, NotFound, ServeyError
from servey.pages import Redirect, WebPageResponse
from servey.queues import Retry
from servey.results import invalidate
from servey.triggers import (
    WEB_GET,
    WEB_POST,
    CronTrigger,
    FixedRateTrigger,
    WebPageTrigger,
    WebTrigger,
    WebTriggerMethod,
)

if TYPE_CHECKING:
    from servey.app import Servey, create_app
    from servey.settings import Settings

_seed_imports.install()

__version__ = "6.0.0"

__all__ = [
    "ALLOW_ALL",
    "ALLOW_NONE",
    "WEB_GET",
    "WEB_POST",
    "ActionError",
    "Authorization",
    "BatchInvoker",
    "ConfigError",
    "Conflict",
    "Context",
    "CronTrigger",
    "Example",
    "FixedRateTrigger",
    "Forbidden",
    "NotFound",
    "Redirect",
    "Retry",
    "ScopeAccessControl",
    "SecureHashCacheControl",
    "Servey",
    "ServeyError",
    "Settings",
    "TimestampCacheControl",
    "TtlCacheControl",
    "WebPageResponse",
    "WebPageTrigger",
    "WebTrigger",
    "WebTriggerMethod",
    "action",
    "background_action_channel",
    "create_app",
    "invalidate",
    "webhook_event_channel",
    "websocket_event_channel",
]

_LATE = {"Servey": "servey.app", "create_app": "servey.app", "Settings": "servey.settings"}


def __getattr__(name: str) -> Any:
    # An app needs FastAPI; a module that only defines actions does not have to wait for it.
    if name not in _LATE:
        raise AttributeError(f"module 'servey' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    return value
