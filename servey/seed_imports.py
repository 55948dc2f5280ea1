"""The import paths of servey 5, so that a project written for it starts unchanged.

Each path is a module that is created when it is imported; it re-exports names of this package.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

SEED_PATHS: dict[str, dict[str, str]] = {
    "servey.action.action": {
        "Action": "servey.core.actions",
        "action": "servey.core.actions",
        "get_action": "servey.core.actions",
    },
    "servey.action.batch_invoker": {"BatchInvoker": "servey.core.actions"},
    "servey.action.example": {"Example": "servey.core.actions"},
    "servey.cache_control.secure_hash_cache_control": {"SecureHashCacheControl": "servey.core.cache"},
    "servey.cache_control.timestamp_cache_control": {"TimestampCacheControl": "servey.core.cache"},
    "servey.cache_control.ttl_cache_control": {"TtlCacheControl": "servey.core.cache"},
    "servey.errors": dict.fromkeys(
        ("ActionError", "ConfigError", "Conflict", "Forbidden", "NotFound", "ServeyError"), "servey.core.errors"
    ),
    "servey.event_channel.background.background_action_channel": {"background_action_channel": "servey.core.channels"},
    "servey.event_channel.webhook_event_channel": {"WebhookEventChannel": "servey.core.channels"},
    "servey.event_channel.websocket.event_filter_abc": {"EventFilterABC": "servey.core.channels"},
    "servey.event_channel.websocket.websocket_event_channel": {"websocket_event_channel": "servey.core.channels"},
    "servey.security.access_control.allow_all": {"ALLOW_ALL": "servey.core.access"},
    "servey.security.access_control.allow_none": {"ALLOW_NONE": "servey.core.access"},
    "servey.security.access_control.scope_access_control": {"ScopeAccessControl": "servey.core.access"},
    "servey.security.authorization": {
        "PUBLIC": "servey.core.access",
        "ROOT": "servey.core.access",
        "Authorization": "servey.core.access",
        "AuthorizationError": "servey.core.access",
    },
    "servey.servey_aws.lambda_invoker": {"invoke": "servey.aws"},
    "servey.servey_aws.lambda_router": {"invoke": "servey.aws"},
    "servey.servey_test.test_servey_actions": {"define_test_class": "servey.testing"},
    "servey.servey_web_page.redirect": {"Redirect": "servey.core.pages"},
    "servey.servey_web_page.web_page_response": {"WebPageResponse": "servey.core.pages"},
    "servey.servey_web_page.web_page_trigger": {
        "PAGE_GET": "servey.core.triggers",
        "WebPageTrigger": "servey.core.triggers",
    },
    "servey.trigger.fixed_rate_trigger": {"FixedRateTrigger": "servey.core.triggers"},
    "servey.trigger.web_trigger": {
        "BODY_METHODS": "servey.core.triggers",
        "UPDATE_METHODS": "servey.core.triggers",
        "WEB_GET": "servey.core.triggers",
        "WEB_POST": "servey.core.triggers",
        "WebTrigger": "servey.core.triggers",
        "WebTriggerMethod": "servey.core.triggers",
    },
}
"""The names in each old module, with the module that defines them now."""

_PACKAGES = {
    package for path in SEED_PATHS for package in (path.rsplit(".", depth)[0] for depth in range(1, path.count(".")))
}


class SeedFinder:
    """Finds the old modules, if no real module has the name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec of an old module; None for any other name."""
        if name not in SEED_PATHS and name not in _PACKAGES:
            return None
        return ModuleSpec(name, self, is_package=name in _PACKAGES)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None, so that Python creates an ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Add the names to an old module."""
        for name, home in SEED_PATHS.get(module.__name__, {}).items():
            setattr(module, name, getattr(importlib.import_module(home), name))
        parent, _, child = module.__name__.rpartition(".")
        if parent == "servey.action":
            # `servey.action` is the decorator; `import servey.action.example` reads the submodule from its attributes.
            setattr(sys.modules["servey"].action, child, module)


class ServeyPackage(ModuleType):
    """The class of the `servey` package, whose ``action`` is always the decorator.

    Python sets an imported submodule as an attribute of its package, so ``import servey.action.example`` would replace
    the decorator with the old package.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "action" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def install() -> None:
    """Make the old paths importable."""
    if not any(isinstance(finder, SeedFinder) for finder in sys.meta_path):
        sys.meta_path.append(SeedFinder())
    sys.modules["servey"].__class__ = ServeyPackage
