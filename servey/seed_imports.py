"""The import paths of servey 5, so that a project written for it starts unchanged.

Each path is a module that is made when it is asked for and holds only names of ours.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

SEED_PATHS: dict[str, dict[str, str]] = {
    "servey.action.action": {
        "Action": "servey.actions",
        "action": "servey.actions",
        "get_action": "servey.actions",
    },
    "servey.action.batch_invoker": {"BatchInvoker": "servey.actions"},
    "servey.action.example": {"Example": "servey.actions"},
    "servey.cache_control.secure_hash_cache_control": {"SecureHashCacheControl": "servey.cache"},
    "servey.cache_control.timestamp_cache_control": {"TimestampCacheControl": "servey.cache"},
    "servey.cache_control.ttl_cache_control": {"TtlCacheControl": "servey.cache"},
    "servey.event_channel.background.background_action_channel": {"background_action_channel": "servey.channels"},
    "servey.event_channel.webhook_event_channel": {"WebhookEventChannel": "servey.channels"},
    "servey.event_channel.websocket.event_filter_abc": {"EventFilterABC": "servey.channels"},
    "servey.event_channel.websocket.websocket_event_channel": {"websocket_event_channel": "servey.channels"},
    "servey.security.access_control.allow_all": {"ALLOW_ALL": "servey.access"},
    "servey.security.access_control.allow_none": {"ALLOW_NONE": "servey.access"},
    "servey.security.access_control.scope_access_control": {"ScopeAccessControl": "servey.access"},
    "servey.security.authorization": {
        "PUBLIC": "servey.access",
        "ROOT": "servey.access",
        "Authorization": "servey.access",
        "AuthorizationError": "servey.access",
    },
    "servey.servey_aws.lambda_invoker": {"invoke": "servey.aws"},
    "servey.servey_aws.lambda_router": {"invoke": "servey.aws"},
    "servey.servey_test.test_servey_actions": {"define_test_class": "servey.testing"},
    "servey.servey_web_page.redirect": {"Redirect": "servey.pages"},
    "servey.servey_web_page.web_page_response": {"WebPageResponse": "servey.pages"},
    "servey.servey_web_page.web_page_trigger": {"PAGE_GET": "servey.triggers", "WebPageTrigger": "servey.triggers"},
    "servey.trigger.fixed_rate_trigger": {"FixedRateTrigger": "servey.triggers"},
    "servey.trigger.web_trigger": {
        "BODY_METHODS": "servey.triggers",
        "UPDATE_METHODS": "servey.triggers",
        "WEB_GET": "servey.triggers",
        "WEB_POST": "servey.triggers",
        "WebTrigger": "servey.triggers",
        "WebTriggerMethod": "servey.triggers",
    },
}
"""The names in each of the old modules, with the module of ours that has them."""

_PACKAGES = {
    package for path in SEED_PATHS for package in (path.rsplit(".", depth)[0] for depth in range(1, path.count(".")))
}


class SeedFinder:
    """Finds the old modules, after everything that is really there."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """How to load an old module; None for any other name."""
        if name not in SEED_PATHS and name not in _PACKAGES:
            return None
        return ModuleSpec(name, self, is_package=name in _PACKAGES)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Lets Python make an ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Fills an old module with its names."""
        for name, home in SEED_PATHS.get(module.__name__, {}).items():
            setattr(module, name, getattr(importlib.import_module(home), name))
        parent, _, child = module.__name__.rpartition(".")
        if parent == "servey.action":
            # `servey.action` is the decorator; this is where `import servey.action.example` looks for the rest.
            setattr(sys.modules["servey"].action, child, module)


class ServeyPackage(ModuleType):
    """The package itself, whose ``action`` is always the decorator.

    Python binds an imported submodule to its name in the package, so ``import servey.action.example`` would put the old
    package in the decorator's place.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name == "action" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


def install() -> None:
    """Makes the old paths importable."""
    if not any(isinstance(finder, SeedFinder) for finder in sys.meta_path):
        sys.meta_path.append(SeedFinder())
    sys.modules["servey"].__class__ = ServeyPackage
