"""Which actions become fields, and why others do not. Computed at start, without importing a GraphQL library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from servey.core.access import ALLOW_ALL
from servey.core.actions import Action
from servey.core.channels import WebsocketEventChannel
from servey.core.errors import ConfigError
from servey.core.triggers import WebTrigger, WebTriggerMethod
from servey.graphql.schema.names import field_name
from servey.graphql.schema.shapes import Field, Leaf, ListOf, Member, ObjectOf, Place, Shape, UnionOf
from servey.graphql.schema.types import NotOffered, Types
from servey.runtime.runtime import Runtime

_READS = {WebTriggerMethod.GET, WebTriggerMethod.HEAD, WebTriggerMethod.OPTIONS}

SUBSCRIBER_ID = Member(
    "subscriberId",
    "subscriber_id",
    Place(Leaf("String"), nullable=True),
    "Also receive events published to this subscriber id. Anyone who knows the id can receive them.",
    required=False,
)


@dataclass(frozen=True)
class ChannelField:
    """An event channel as a subscription field."""

    name: str
    channel: WebsocketEventChannel[object]
    place: Place

    @property
    def arguments(self) -> dict[str, Member]:
        """The arguments. Only channels without access control accept a subscriber id from the client."""
        return {SUBSCRIBER_ID.name: SUBSCRIBER_ID} if self.channel.access_control is ALLOW_ALL else {}


@dataclass(frozen=True)
class Fields:
    """The root fields of a schema by name, where each action is exposed, and why others are not."""

    queries: dict[str, Field] = field(default_factory=dict)
    mutations: dict[str, Field] = field(default_factory=dict)
    subscriptions: dict[str, Field | ChannelField] = field(default_factory=dict)
    places: dict[Action, list[str]] = field(default_factory=dict)
    absences: dict[Action, list[str]] = field(default_factory=dict)

    def roots(self) -> Iterator[Field | ChannelField]:
        """Yield all root fields."""
        yield from self.queries.values()
        yield from self.mutations.values()
        yield from self.subscriptions.values()


def fields_of(runtime: Runtime) -> Fields:
    """Return the fields of an app. Errors: ConfigError, for example for names that collide in camelCase."""
    catalog = runtime.catalog
    types = Types(action for action in catalog if action.class_name is not None and not _unfit(runtime, action))
    made = Fields()
    for action in catalog:
        methods = [trigger.method for trigger in action.triggers if isinstance(trigger, WebTrigger)]
        if action.class_name is not None or not methods:
            continue
        try:
            _add(made, types, runtime, action, writes={method not in _READS for method in methods})
        except NotOffered as reason:
            made.absences[action] = [f"not in GraphQL: {reason}"]
    _add_channels(made, types, runtime)
    _note_methods(made, runtime)
    for action, each in _with_actions(made):
        notes = [f"GraphQL: {where} is JSON, because {why}" for where, why in json_places(each).items()]
        if notes:
            made.absences.setdefault(action, []).extend(note for note in notes if note not in made.absences[action])
    if types.problems:
        raise ConfigError(types.problems)
    return made


def _add(made: Fields, types: Types, runtime: Runtime, action: Action, *, writes: set[bool]) -> None:
    unfit = _unfit(runtime, action)
    if unfit:
        raise NotOffered(unfit)
    name = field_name(action.name)
    if name is None:
        raise NotOffered("its name is not a valid GraphQL name")
    each = types.field(name, action)
    roots: list[tuple[str, dict[str, Field]]] = []
    if action.signature.streams:
        roots.append(("subscription", made.subscriptions))  # type: ignore[arg-type]
    else:
        roots += [("query", made.queries)] if False in writes else []
        roots += [("mutation", made.mutations)] if True in writes else []
    for kind, root in roots:
        other = root.setdefault(name, each)
        if other is not each:
            types.problems.append(
                f"action '{other.action.name}' ({other.action.place}) and action '{action.name}' ({action.place}) are both "
                f"the {kind} '{name}' in GraphQL; rename one of them"
            )
        made.places.setdefault(action, []).append(f"{kind} {name}")


def _unfit(runtime: Runtime, action: Action) -> str | None:
    """Describe why an action is not a field: it is hidden, or needs what no GraphQL request has; None if it is one."""
    if "graphql" in action.hidden:
        return "it is hidden there"
    injection = runtime.plan(action).injection
    return f"it needs {injection.required_place}" if injection is not None and injection.required_place else None


def _add_channels(made: Fields, types: Types, runtime: Runtime) -> None:
    for channel in runtime.catalog.channels_of(WebsocketEventChannel):
        name = field_name(channel.name)
        if name is None:
            continue
        other = made.subscriptions.get(name)
        if other is not None:
            kind = "channel" if isinstance(other, ChannelField) else "action"
            owner = other.channel.name if isinstance(other, ChannelField) else other.action.name
            types.problems.append(
                f"{kind} '{owner}' and channel '{channel.name}' are both the subscription '{name}' in GraphQL; "
                "rename one of them"
            )
            continue
        made.subscriptions[name] = ChannelField(name, channel, types.output(channel.event_type))


def _note_methods(made: Fields, runtime: Runtime) -> None:
    """Record where each method is a field, or why it is not."""
    for action, _, owner in _nested(made):
        if owner is not None:
            places = made.places.setdefault(action, [])
            places.append(f"field {owner}")
    for action in runtime.catalog:
        if action.class_name is None or action in made.places:
            continue
        reason = _unfit(runtime, action) or f"no field returns {action.class_name}"
        if action.signature.streams:
            reason = "a streaming action cannot be a nested field"
        made.absences[action] = [f"not in GraphQL: {reason}"]


def _with_actions(made: Fields) -> Iterator[tuple[Action, Field]]:
    for root in made.roots():
        if isinstance(root, Field):
            yield root.action, root
    for action, each, _ in _nested(made):
        yield action, each


def _nested(made: Fields) -> Iterator[tuple[Action, Field, str]]:
    """Yield each action that is a nested field, with the field and its place."""
    for shape in shapes_of(made):
        if isinstance(shape, ObjectOf):
            for name, each in shape.actions.items():
                yield each.action, each, f"{shape.name}.{name}"


def shapes_of(made: Fields) -> list[Shape]:
    """Return each enum, object, union and scalar that the fields use, in order of first use."""
    found: dict[int, Shape] = {}

    def visit(place: Place) -> None:
        shape = place.shape
        if isinstance(shape, ListOf):
            visit(shape.item)
        elif id(shape) not in found:
            found[id(shape)] = shape
            if isinstance(shape, UnionOf):
                for choice in shape.choices:
                    visit(Place(choice))
            elif isinstance(shape, ObjectOf):
                for member in shape.members.values():
                    visit(member.place)
                for each in shape.actions.values():
                    visit_field(each)

    def visit_field(each: Field | ChannelField) -> None:
        for member in each.arguments.values():
            visit(member.place)
        visit(each.place)

    for root in made.roots():
        visit_field(root)
    return list(found.values())


def json_places(field: Field) -> dict[str, str]:
    """Return the parameters and results of a field that are JSON, each with its reason."""
    found: dict[str, str] = {}
    for name, member in field.arguments.items():
        _collect(member.place, f"parameter '{name}'", found, set())
    _collect(field.place, "the result", found, set())
    return found


def _collect(place: Place, where: str, found: dict[str, str], seen: set[int]) -> None:
    shape = place.shape
    if isinstance(shape, ListOf):
        _collect(shape.item, where, found, seen)
    elif isinstance(shape, Leaf):
        if shape.reason is not None:
            found.setdefault(where, shape.reason)
    elif isinstance(shape, UnionOf):
        for choice in shape.choices:
            _collect(Place(choice), where, found, seen)
    elif isinstance(shape, ObjectOf) and id(shape) not in seen:
        seen.add(id(shape))
        for member in shape.members.values():
            _collect(member.place, f"{shape.name}.{member.name}", found, seen)
