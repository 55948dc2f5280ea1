"""Finds the actions of a project, and says everything that is wrong with them at once."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from types import ModuleType
from typing import Any, TypeVar

from servey.actions import Action, get_action, relative_path
from servey.channels import BackgroundActionChannel, EventChannel, WebhookEventChannel, WebsocketEventChannel
from servey.errors import ConfigError
from servey.params import union_members

T = TypeVar("T")


@dataclass(frozen=True)
class Catalog:
    """The actions and event channels of an app, each checked: every signature readable, every name its own."""

    actions: tuple[Action, ...]
    channels: tuple[EventChannel, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {action.name: action for action in self.actions})

    def __iter__(self) -> Iterator[Action]:
        return iter(self.actions)

    def __getitem__(self, name: str) -> Action:
        """The action of that name. Errors: KeyError."""
        return typing.cast(dict[str, Action], self._by_name)[name]  # type: ignore[attr-defined]

    def channels_of(self, kind: type[T]) -> tuple[T, ...]:
        """The event channels of that kind."""
        return tuple(channel for channel in self.channels if isinstance(channel, kind))

    def __contains__(self, name: str) -> bool:
        return name in self._by_name  # type: ignore[attr-defined]

    def triggered_by(self, kind: type[T]) -> Iterator[tuple[Action, T]]:
        """Each action with each of its triggers of that kind."""
        for action in self.actions:
            for trigger in action.triggers:
                if isinstance(trigger, kind):
                    yield action, trigger


def build_catalog(functions: Iterable[Callable[..., Any] | Action], channels: Iterable[EventChannel] = ()) -> Catalog:
    """A catalog of these actions, of those that are methods of their results, and of those that these channels call.

    Errors: ConfigError that lists every problem: signatures that can not be served, names that are taken twice.
    """
    problems: list[str] = []
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
            _ = action.params, action.result, action.place
        except ConfigError as error:
            problems += error.problems
    problems += _taken_twice(found.values())
    problems += _channel_problems(channels)
    if problems:
        raise ConfigError(problems)
    return Catalog(tuple(found.values()), channels)


def _nested(returns: Any, seen: set[Any] | None = None) -> list[Action]:
    """The actions on methods of a result's type, and of the types of its fields."""
    seen = set() if seen is None else seen
    found: list[Action] = []
    for member in union_members(returns):
        for argument in typing.get_args(member):
            found += _nested(argument, seen)
        cls = typing.get_origin(member) or member
        if not isinstance(cls, type) or cls in seen or cls.__module__ == "builtins":
            continue
        seen.add(cls)
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
                continue  # a type that pydantic can read in its own way; it reports what it can not
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


def _channel_problems(channels: Iterable[EventChannel]) -> Iterator[str]:
    names: set[str] = set()
    for channel in channels:
        if channel.name in names:
            yield f"channel '{channel.name}' is defined twice; give one of them another name"
        names.add(channel.name)
        try:
            if isinstance(channel, BackgroundActionChannel):
                _ = channel.parameter
            _ = channel.event
        except ConfigError as error:
            yield from error.problems


# ----------------------------------------------------------------------------------------------------- discovery


def find_actions(paths: Iterable[str], *, required: bool) -> list[Action]:
    """The actions in these modules and packages, walked recursively, in the order of their definition.

    ``required`` says that the paths were named by the user, so that an absent one is an error.
    Errors: ConfigError with the cause and its place, for any error inside a user's module.
    """
    found: dict[Callable[..., Any], Action] = {}
    for module in import_modules(paths, required=required):
        for value in vars(module).values():
            candidates = [value]
            if isinstance(value, type) and value.__module__ == module.__name__:
                candidates += vars(value).values()
            for candidate in candidates:
                action = get_action(candidate)
                # A method without a trigger is only a field of its class, and is found through the results that hold it.
                if action is not None and (action.class_name is None or action.triggers):
                    found.setdefault(action.fn, action)
    return list(found.values())


def find_channels(paths: Iterable[str], *, required: bool) -> list[EventChannel]:
    """The event channels in these modules and packages, as `find_actions` finds actions."""
    kinds = (WebsocketEventChannel, BackgroundActionChannel, WebhookEventChannel)
    found: dict[EventChannel, None] = {}
    for module in import_modules(paths, required=required):
        found |= {value: None for value in vars(module).values() if isinstance(value, kinds)}
    return list(found)


def import_modules(paths: Iterable[str], *, required: bool) -> list[ModuleType]:
    """These modules, and for packages all modules below them, imported."""
    modules: list[ModuleType] = []
    problems: list[str] = []
    for path in paths:
        try:
            if _is_absent(path):
                if required:
                    problems.append(
                        f"module '{path}' does not exist below {sys.path[0] or '.'}; "
                        "check SERVEY_ACTION_PATH, SERVEY_EVENT_CHANNEL_PATH, SERVEY_MAIN"
                    )
                continue
            modules.append(module := importlib.import_module(path))
        except BaseException as error:
            problems.append(_import_problem(path, error))
            continue
        for info in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{path}."):
            try:
                modules.append(importlib.import_module(info.name))
            except BaseException as error:
                problems.append(_import_problem(info.name, error))
    if problems:
        raise ConfigError(problems)
    return modules


def _is_absent(path: str) -> bool:
    """Whether there is no such module at all, as opposed to one that fails when it is imported."""
    parent = path.rpartition(".")[0]
    if parent and _is_absent(parent):
        return True
    return importlib.util.find_spec(path) is None


def _import_problem(module: str, error: BaseException) -> str:
    if not isinstance(error, Exception | SystemExit):
        raise error
    if isinstance(error, ConfigError):
        return str(error)
    place = ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({relative_path(error.filename)}:{error.lineno})"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_machinery(f.filename)]
        if frames:
            place = f" ({relative_path(frames[-1].filename)}:{frames[-1].lineno})"
    return f"module '{module}' can not be imported{place}: {type(error).__name__}: {error}"


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen") or filename.endswith(
        ("importlib/__init__.py", "servey/catalog.py", "pkgutil.py")
    )
