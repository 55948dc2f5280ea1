"""Finds the actions and event channels of a project and reports all their problems at once."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
import sys
import sysconfig
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from servey.compat.annotations import union_members
from servey.core.actions import Action, get_action
from servey.core.actions.naming import relative_path
from servey.core.channels import BackgroundActionChannel, EventChannel, WebhookEventChannel, WebsocketEventChannel
from servey.core.errors import ConfigError, collected_mistakes

T = TypeVar("T")
_NOT_ACTIONS = ("__pycache__", "tests", "node_modules")
"""Folders without ``__init__.py`` that are never imported."""
_PACKAGE = os.path.dirname(os.path.dirname(__file__))


@dataclass(frozen=True)
class Catalog:
    """The actions and event channels of an app, with valid signatures and unique names."""

    actions: tuple[Action, ...]
    channels: tuple[EventChannel, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {action.name: action for action in self.actions})

    def __iter__(self) -> Iterator[Action]:
        return iter(self.actions)

    def __getitem__(self, name: str) -> Action:
        """Return the action with this name. Errors: KeyError."""
        return typing.cast(dict[str, Action], self._by_name)[name]  # type: ignore[attr-defined]

    def channels_of(self, kind: type[T]) -> tuple[T, ...]:
        """Return the event channels of this type."""
        return tuple(channel for channel in self.channels if isinstance(channel, kind))

    def __contains__(self, name: str) -> bool:
        return name in self._by_name  # type: ignore[attr-defined]

    def triggered_by(self, kind: type[T]) -> Iterator[tuple[Action, T]]:
        """Yield each action with each of its triggers of this type."""
        for action in self.actions:
            for trigger in action.triggers:
                if isinstance(trigger, kind):
                    yield action, trigger


def build_catalog(
    functions: Iterable[Callable[..., Any] | Action],
    channels: Iterable[EventChannel] = (),
    collected: list[str] | None = None,
) -> Catalog:
    """Build a catalog of these actions, of the actions on methods of their result types, and of the channels' actions.

    Errors: ConfigError with one line for each invalid signature and each duplicate name; with ``collected`` they are added
    to that list, and the catalog has everything else.
    """
    problems: list[str] = []
    invalid: set[Action] = set()
    found: dict[Callable[..., Any], Action] = {}
    channels = tuple(dict.fromkeys(channels))
    waiting: list[Action] = []
    for function in functions:
        made = function if isinstance(function, Action) else get_action(function)
        if made is None:
            problems.append(f"{function!r} is not an action; decorate it with @action")
        else:
            waiting.append(made)
    waiting += [channel.action for channel in channels if isinstance(channel, BackgroundActionChannel)]
    while waiting:
        action = waiting.pop(0)
        if action.fn in found:
            continue
        found[action.fn] = action
        try:
            waiting += _nested(action.signature.returns)
            _ = action.params, action.result, action.place, action.cursor
            action.check_limit()
        except ConfigError as error:
            problems += error.problems
            invalid.add(action)
    problems += _taken_twice(found.values())
    kept: list[EventChannel] = []
    for channel, found_problems in _channel_problems(channels):
        problems += found_problems
        if not found_problems and not (isinstance(channel, BackgroundActionChannel) and channel.action in invalid):
            kept.append(channel)
    if problems and collected is None:
        raise ConfigError(problems)
    if not problems:
        return Catalog(tuple(found.values()), channels)
    if collected is not None:
        collected.extend(problems)
    sound = {action.name: action for action in reversed(found.values()) if action not in invalid}
    return Catalog(tuple(action for action in found.values() if sound.get(action.name) is action), tuple(kept))


def _nested(returns: Any, seen: set[Any] | None = None) -> list[Action]:
    """Return the actions on methods of a result type and of the types of its fields."""
    seen = set() if seen is None else seen
    found: list[Action] = []
    for member in union_members(returns):
        for argument in typing.get_args(member):
            found += _nested(argument, seen)
        cls = typing.get_origin(member) or member
        if not isinstance(cls, type) or cls in seen or cls.__module__ == "builtins":
            continue
        seen.add(cls)
        for argument in getattr(cls, "__pydantic_generic_metadata__", {}).get("args", ()):
            found += _nested(argument, seen)
        for base in reversed(cls.__mro__):
            for value in vars(base).values():
                method = get_action(value)
                if method is not None and method.class_name is not None:
                    method.bind(base)
                    found.append(method)
        if is_dataclass(cls) or hasattr(cls, "model_fields") or typing.is_typeddict(cls):
            try:
                hints = typing.get_type_hints(cls, localns={cls.__name__: cls})
            except Exception:
                continue  # pydantic may still resolve this type, and reports an error if it cannot
            for hint in hints.values():
                found += _nested(hint, seen)
    return found


def _taken_twice(actions: Iterable[Action]) -> Iterator[str]:
    first: dict[str, Action] = {}
    for action in actions:
        other = first.setdefault(action.name, action)
        if other is not action:
            yield (
                f"action '{action.name}' is defined twice: {other.place} and {action.place}; "
                f"give one of them another name, e.g. @action(name='{action.name}_2')"
            )


def _channel_problems(channels: Iterable[EventChannel]) -> Iterator[tuple[EventChannel, list[str]]]:
    names: set[str] = set()
    for channel in channels:
        problems: list[str] = []
        if channel.name in names:
            problems.append(f"channel '{channel.name}' is defined twice; give one of them another name")
        names.add(channel.name)
        try:
            if isinstance(channel, BackgroundActionChannel):
                _ = channel.parameter
            _ = channel.event
        except ConfigError as error:
            problems += error.problems
        yield channel, problems


# ----------------------------------------------------------------------------------------------------- discovery


def find_actions(paths: Iterable[str], *, required: bool, collected: list[str] | None = None) -> list[Action]:
    """Return the actions in these modules and packages (recursively), in the order of their definition.

    ``required``: the user named these paths, so a missing one is an error.
    Errors: ConfigError with cause and location for every module that fails to import; with ``collected`` they are added to
    that list.
    """
    found: dict[Callable[..., Any], Action] = {}
    for module in import_modules(paths, required=required, collected=collected):
        for value in vars(module).values():
            candidates = [value]
            if isinstance(value, type) and value.__module__ == module.__name__:
                candidates += vars(value).values()
            for candidate in candidates:
                action = get_action(candidate)
                # A method without triggers is only a field of its class; `build_catalog` finds it by the result types.
                if action is not None and (action.class_name is None or action.triggers):
                    found.setdefault(action.fn, action)
    return list(found.values())


def find_channels(paths: Iterable[str], *, required: bool, collected: list[str] | None = None) -> list[EventChannel]:
    """Return the event channels in these modules and packages; see `find_actions`."""
    kinds = (WebsocketEventChannel, BackgroundActionChannel, WebhookEventChannel)
    found: dict[EventChannel, None] = {}
    for module in import_modules(paths, required=required, collected=collected):
        found |= {value: None for value in vars(module).values() if isinstance(value, kinds)}
    return list(found)


def import_modules(paths: Iterable[str], *, required: bool, collected: list[str] | None = None) -> list[ModuleType]:
    """Import these modules, and all modules inside packages. Errors: as for `find_actions`."""
    modules: list[ModuleType] = []
    with collected_mistakes() as problems:
        for path in paths:
            try:
                is_absent = _is_absent(path)
            except BaseException as error:
                problems += import_problems(path, error)
                continue
            if is_absent:
                if required:
                    is_in_src = os.path.isdir(os.path.join("src", path.partition(".")[0]))
                    hint = (
                        "it may be in src: set PYTHONPATH=src, or install the project; otherwise " if is_in_src else ""
                    )
                    problems.append(
                        f"module '{path}' does not exist below {sys.path[0] or '.'}; {hint}"
                        "check SERVEY_ACTION_PATH, SERVEY_EVENT_CHANNEL_PATH, SERVEY_MAIN"
                    )
                continue
            modules += _imported(path, problems)
            modules += _imported_inside(path, problems)
    if problems and collected is None:
        raise ConfigError(problems)
    if collected is not None:
        collected.extend(problem for problem in problems if problem not in collected)
    return modules


def _imported(name: str, problems: list[str]) -> Iterator[ModuleType]:
    try:
        yield importlib.import_module(name)
    except BaseException as error:
        problems += import_problems(name, error)


def _imported_inside(package: str, problems: list[str], around: frozenset[str] = frozenset()) -> Iterator[ModuleType]:
    """Import everything inside a package, also in folders without ``__init__.py``.

    Shape: ``around`` are the folders of the packages around this one; a link to one of them is not followed.
    """
    places = [
        place for place in getattr(sys.modules.get(package), "__path__", ()) if os.path.realpath(place) not in around
    ]
    inside = {info.name: info.ispkg for info in pkgutil.iter_modules(places)}
    inside |= {name: True for name in _plain_folders(places) if name not in inside}
    for name, is_package in sorted(inside.items()):
        yield from _imported(f"{package}.{name}", problems)
        if is_package:
            yield from _imported_inside(
                f"{package}.{name}", problems, around | {os.path.realpath(place) for place in places}
            )


def _plain_folders(places: Iterable[str]) -> Iterator[str]:
    """Yield the folders without ``__init__.py`` that have Python files at any depth and can be imported."""
    for place in places:
        for entry in os.scandir(place) if os.path.isdir(place) else ():
            can_be_imported = entry.name.isidentifier() and entry.name not in _NOT_ACTIONS and entry.is_dir()
            if can_be_imported and any(name.endswith(".py") for _, _, names in os.walk(entry.path) for name in names):
                yield entry.name


def _is_absent(path: str) -> bool:
    """Whether the module does not exist (a module that exists and fails to import is not absent)."""
    parent = path.rpartition(".")[0]
    if parent and _is_absent(parent):
        return True
    return importlib.util.find_spec(path) is None


def import_problems(module: str, error: BaseException) -> list[str]:
    """Return the problems of a module that fails to import, each with the user's file and line."""
    if not isinstance(error, Exception | SystemExit):
        raise error
    place = ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({relative_path(error.filename)}:{error.lineno})"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_machinery(f.filename)]
        if frames:
            # The last line of the project's own, unless the error is inside a package from beginning to end.
            last = ([frame for frame in frames if not _is_library(frame.filename)] or frames)[-1]
            place = f" ({relative_path(last.filename)}:{last.lineno})"
    if isinstance(error, ConfigError):
        return [problem if re.search(r"\.py:\d", problem) else f"{problem}{place}" for problem in error.problems]
    return [f"module '{module}' cannot be imported{place}: {type(error).__name__}: {error}"]


def _is_library(filename: str) -> bool:
    installed = {"site-packages", "dist-packages"} & set(Path(filename).parts)
    return bool(installed) or filename.startswith(sysconfig.get_path("stdlib") + os.sep)


def _is_machinery(filename: str) -> bool:
    inside = filename.startswith(f"{_PACKAGE}{os.sep}")
    # "<string>" is a method that dataclasses generate, "<frozen ...>" the import system.
    return inside or filename.startswith("<") or filename.endswith(("importlib/__init__.py", "pkgutil.py"))
