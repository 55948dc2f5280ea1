"""Builds the runtime of a project and collects its problems."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from servey.auth.tokens import NoKeyAuthorizer
from servey.calls.enqueue import why_no_job
from servey.calls.invoke import plan_of
from servey.compat.pydantic_v1 import only_imported_v1
from servey.core.actions import Action
from servey.core.catalog import Catalog, build_catalog, find_actions, find_channels
from servey.core.channels import BackgroundActionChannel, EventChannel
from servey.core.errors import ConfigError, extras_named
from servey.core.settings import Settings
from servey.core.settings.sources import names_without_prefix
from servey.runtime.parts import Parts, load_plugins, parts_of
from servey.runtime.runtime import Runtime


class Problems:
    """Collects problems of a project, so that all of them are reported together."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect the ConfigError of one step; after a first problem, other errors of later steps only follow from it."""
        try:
            with extras_named():
                yield
        except ConfigError as error:
            self.found += [problem for problem in error.problems if problem not in self.found]
        except Exception:
            if not self.found:
                raise

    def check(self) -> None:
        """Raise ConfigError if there is any problem."""
        if self.found:
            raise ConfigError(dict.fromkeys(self.found))


@contextmanager
def creation() -> Iterator[None]:
    """Create an app or its routes with less work.

    No garbage is collected meanwhile, since almost everything that is created stays: that takes a fifth of the start of an
    app of 1,000 actions. And nothing is imported that only FastAPI's checks need.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with only_imported_v1():
            yield
    finally:
        if collects:
            if not gc.get_freeze_count():
                # To the oldest generation at once: the next collection would visit everything here, and find nothing.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def build_runtime(
    settings: Settings,
    actions: Iterable[Callable[..., Any] | Action] | None,
    channels: Iterable[EventChannel] | None,
    parts: Parts | None,
    problems: Problems,
) -> Runtime:
    """Create the runtime of the given actions and channels, or of those that the settings name.

    What is invalid is left out and added to ``problems``. Errors: ConfigError if nothing can be built.
    """
    parts = load_plugins(parts_of(settings, parts), settings)
    found = problems.found
    # If either is given, nothing is searched for.
    if actions is None and channels is None:
        actions = find_actions(settings.action_modules, required=settings.names_action_modules, collected=found)
        channels = find_channels(settings.channel_modules, required=settings.names_channel_modules, collected=found)
    catalog = build_catalog(actions or (), channels or (), found)
    with problems.collected():
        made = Runtime(catalog, settings, parts)
        found += [str(problem) for problem in _channel_problems(made)]
        return made
    # With the valid actions and without a key, the other steps can still report their problems.
    sound = tuple(action for action in catalog if _has_plan(action))
    kept = tuple(
        channel
        for channel in catalog.channels
        if not isinstance(channel, BackgroundActionChannel) or channel.action in sound
    )
    with problems.collected():
        return Runtime(Catalog(sound, kept), settings, replace(parts, authorizer=lambda settings: NoKeyAuthorizer()))
    raise ConfigError(dict.fromkeys(found))


def _channel_problems(runtime: Runtime) -> Iterator[ConfigError]:
    """Yield the problems of channels whose events would be jobs that always fail."""
    for channel in runtime.catalog.channels_of(BackgroundActionChannel):
        reason = why_no_job(runtime.plan(channel.action))
        if reason is not None:
            yield channel.action.problem(f"cannot be called by the events of channel '{channel.name}': {reason}")


def _has_plan(action: Action) -> bool:
    try:
        plan_of(action)
    except ConfigError:
        return False
    return True


def settings_inside_host() -> Settings | None:
    """Return the settings for use inside a host, or None if they are the same as `Settings`."""
    if not os.environ.keys() & names_without_prefix(Settings.model_fields):
        return None
    from servey.core.settings.prefixed import PrefixedSettings  # a second model takes milliseconds of a cold start

    return PrefixedSettings()
