"""Decorate a Python function once; Servey exposes it as a REST endpoint, a GraphQL field, a job, a page, a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servey import seed_imports as _seed_imports
from servey.core.version import __version__ as __version__

if TYPE_CHECKING:
    from servey.app import Servey, create_app
    from servey.auth.tokens import issue_token
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
    from servey.core.settings import Settings
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

_PLACES: dict[str, str] = {
    **dict.fromkeys(("Servey", "create_app"), "servey.app"),
    "issue_token": "servey.auth.tokens",
    "invalidate": "servey.caching.results",
    **dict.fromkeys(
        ("ALLOW_ALL", "ALLOW_NONE", "Authorization", "AuthorizationError", "ScopeAccessControl"), "servey.core.access"
    ),
    **dict.fromkeys(("BatchInvoker", "Example", "Group", "action"), "servey.core.actions"),
    **dict.fromkeys(("Cursor", "Page"), "servey.core.actions.paging"),
    **dict.fromkeys(("SecureHashCacheControl", "TimestampCacheControl", "TtlCacheControl"), "servey.core.cache"),
    **dict.fromkeys(
        ("EventFilterABC", "background_action_channel", "publish", "webhook_event_channel", "websocket_event_channel"),
        "servey.core.channels",
    ),
    **dict.fromkeys(("Context", "cancel", "current_context", "enqueue"), "servey.core.context"),
    **dict.fromkeys(
        ("ActionError", "ConfigError", "Conflict", "Forbidden", "NotFound", "ServeyError"), "servey.core.errors"
    ),
    **dict.fromkeys(("Redirect", "WebPageResponse"), "servey.core.pages"),
    **dict.fromkeys(("Limit", "Retry"), "servey.core.queues"),
    "Settings": "servey.core.settings",
    **dict.fromkeys(
        (
            "CronTrigger",
            "FixedRateTrigger",
            "MCP_PROMPT",
            "MCP_RESOURCE",
            "MCP_TOOL",
            "McpTrigger",
            "WEB_GET",
            "WEB_POST",
            "WebPageTrigger",
            "WebTrigger",
            "WebTriggerMethod",
        ),
        "servey.core.triggers",
    ),
    "ErrorFacts": "servey.http.errors",
    "Parts": "servey.runtime.parts",
}
"""The module that defines each public name."""


def __getattr__(name: str) -> Any:
    # An app needs FastAPI; a module that only defines actions does not have to wait for it.
    if name not in _PLACES:
        raise AttributeError(f"module 'servey' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
