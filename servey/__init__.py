"""Decorate a Python function once; Servey exposes it as a REST endpoint, a GraphQL field, a job, a page, a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servey import seed_imports as _seed_imports
from servey.caching.results import invalidate
from servey.core.access import ALLOW_ALL, ALLOW_NONE, Authorization, AuthorizationError, ScopeAccessControl
from servey.core.actions import BatchInvoker, Example, Group, action
from servey.core.actions.paging import Cursor, Page
from servey.core.cache import SecureHashCacheControl, TimestampCacheControl, TtlCacheControl
from servey.core.channels import (
    EventFilterABC,
    background_action_channel,
    publish,
    webhook_event_channel,
    websocket_event_channel,
)
from servey.core.context import Context, cancel, current_context, enqueue
from servey.core.errors import ActionError, ConfigError, Conflict, Forbidden, NotFound, ServeyError
from servey.core.pages import Redirect, WebPageResponse
from servey.core.queues import Limit, Retry
from servey.core.triggers import (
    MCP_PROMPT,
    MCP_RESOURCE,
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    CronTrigger,
    FixedRateTrigger,
    McpTrigger,
    WebPageTrigger,
    WebTrigger,
    WebTriggerMethod,
)
from servey.core.version import __version__ as __version__

if TYPE_CHECKING:
    from servey.app import Servey, create_app
    from servey.auth.tokens import issue_token
    from servey.core.settings import Settings
    from servey.http.errors import ErrorFacts
    from servey.runtime.parts import Parts

_seed_imports.install()

__all__ = [
    "ALLOW_ALL",
    "ALLOW_NONE",
    "MCP_PROMPT",
    "MCP_RESOURCE",
    "MCP_TOOL",
    "WEB_GET",
    "WEB_POST",
    "ActionError",
    "Authorization",
    "AuthorizationError",
    "BatchInvoker",
    "ConfigError",
    "Conflict",
    "Context",
    "CronTrigger",
    "Cursor",
    "ErrorFacts",
    "EventFilterABC",
    "Example",
    "FixedRateTrigger",
    "Forbidden",
    "Group",
    "Limit",
    "McpTrigger",
    "NotFound",
    "Page",
    "Parts",
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
    "cancel",
    "create_app",
    "current_context",
    "enqueue",
    "invalidate",
    "issue_token",
    "publish",
    "webhook_event_channel",
    "websocket_event_channel",
]

_LAZY = {
    "Parts": "servey.runtime.parts",
    "Servey": "servey.app",
    "create_app": "servey.app",
    "Settings": "servey.core.settings",
    "ErrorFacts": "servey.http.errors",
    "issue_token": "servey.auth.tokens",
}


def __getattr__(name: str) -> Any:
    # An app needs FastAPI; a module that only defines actions does not have to wait for it.
    if name not in _LAZY:
        raise AttributeError(f"module 'servey' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
    return value
