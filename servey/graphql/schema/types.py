"""Converts Python types to GraphQL shapes. A type that GraphQL cannot express becomes JSON, with a reason."""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import itertools
import types
import typing
import uuid
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typing_extensions
from pydantic import RootModel, TypeAdapter
from pydantic_core import PydanticUndefined

from servey.calls.batches import arguments_of_batch
from servey.core.actions import Action
from servey.core.actions.naming import camel_case
from servey.core.actions.paging import Edge, PageInfo, item_type_of
from servey.graphql.schema.defaults import is_big, is_id, member_of_input
from servey.graphql.schema.members import annotated, doc_of, is_object, is_typed_dict, parts_of
from servey.graphql.schema.names import field_name, is_valid_name, type_name
from servey.graphql.schema.shapes import (
    EnumOf,
    Field,
    IdMark,
    Leaf,
    ListOf,
    Member,
    ObjectOf,
    Place,
    Scalar,
    Shape,
    UnionOf,
    leaf_of,
)

_SCALARS: dict[Any, Scalar] = {
    bool: "Boolean",
    int: "Int",
    float: "Float",
    str: "String",
    dt.datetime: "DateTime",
    dt.date: "Date",
    dt.time: "Time",
    dt.timedelta: "Duration",
    Decimal: "Decimal",
    uuid.UUID: "UUID",
}
_LISTS = {
    list, set, frozenset, collections.deque, collections.abc.Sequence, collections.abc.MutableSequence,
    collections.abc.Set, collections.abc.MutableSet, collections.abc.Collection, collections.abc.Iterable,
}  # fmt: skip
_OF_SCHEMA: dict[str, Scalar] = {"string": "String", "integer": "Int", "number": "Float", "boolean": "Boolean"}
_OWN_JSON = {"PlainSerializer", "WrapSerializer", "Json", "EncodedBytes", "EncodedStr", "WithJsonSchema", "Base64Bytes"}
_NOT_ENUM_VALUES = {"true", "false", "null"}
_RESERVED = {
    "Query", "Mutation", "Subscription", "BigInt", "Boolean", "Date", "DateTime", "Decimal", "Duration", "Float", "ID",
    "Int", "JSON", "String", "Time", "UUID", "Void",
}  # fmt: skip
_MAX_NESTING = 40


class NotOffered(Exception):
    """Raised with the reason why an action is not a field."""


class Dump:
    """Converts a value to the same JSON as REST."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self._annotation)

    def __call__(self, value: Any) -> Any:
        return self._adapter.dump_python(value, mode="json", by_alias=True, warnings=False)


class Types:
    """The types of one schema: each Python type has one output shape and one input shape.

    Shape: ``problems`` are configuration errors that stop the start.
    """

    def __init__(self, methods: Iterable[Action] = ()) -> None:
        self.problems: list[str] = []
        self._methods = [method for method in methods if method.owner is not None]
        self._names = set(_RESERVED)
        self._known: dict[Any, Shape] = {}
        self._depth = 0

    def field(self, name: str, action: Action) -> Field:
        """Return an action as a field with this name. Errors: NotOffered."""
        if action.result is None:
            raise NotOffered("it returns a Response")
        arguments: dict[str, Member] = {}
        for param in action.signature.client:
            if action.class_name is not None and param.name == "self":
                continue
            is_batched = action.batch_invoker is not None and action.class_name is not None
            if is_batched and param.name not in arguments_of_batch(action):
                continue
            shown = field_name(param.alias) or field_name(param.name)
            if shown is None:
                raise NotOffered(f"its parameter '{param.name}' is not a valid GraphQL name")
            if shown in arguments:
                self.problems.append(
                    str(action.problem(f"is '{shown}' in GraphQL, like another parameter", param.name))
                )
            place = self.input(annotated(param.info))
            default = PydanticUndefined if param.info.default_factory is not None else param.info.default
            arguments[shown] = member_of_input(
                shown, param.alias, place, param.info.description, param.required, default
            )
        return Field(name, action, arguments, self.output(action.result_type))

    def output(self, annotation: Any) -> Place:
        """Return the output type for an annotation."""
        return self._place(annotation, False)

    def input(self, annotation: Any) -> Place:
        """Return the input type for an annotation."""
        return self._place(annotation, True)

    def _place(self, annotation: Any, is_input: bool) -> Place:
        self._depth += 1
        try:
            if self._depth > _MAX_NESTING:
                return _json("it is nested too deeply", annotation, is_input)
            alternatives = list(_alternatives(annotation, ()))
            nullable = any(each is None or each is type(None) for each, _ in alternatives)
            found = [(each, marks) for each, marks in alternatives if each is not None and each is not type(None)]
            if not found:
                return Place(Leaf("Void"), nullable=True)
            place = self._one(*found[0], is_input) if len(found) == 1 else self._union(found, is_input)
            if place.dump is not None and not is_input:
                return Place(place.shape, nullable or place.nullable, Dump(annotation))
            return Place(place.shape, nullable or place.nullable)
        except Exception as error:
            text = str(error).partition("\n")[0][:100]
            return _json(f"{_text(annotation)} cannot be resolved: {text}", annotation, is_input)
        finally:
            self._depth -= 1

    def _one(self, annotation: Any, marks: tuple[Any, ...], is_input: bool) -> Place:
        whole = Annotated[(annotation, *marks)] if marks else annotation
        if any(type(mark).__name__ in _OWN_JSON for mark in marks):
            return _by_schema(whole, is_input)
        if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
            return _json(f"{_text(annotation)} accepts any value", whole, is_input)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Literal or origin is typing_extensions.Literal:
            return self._literal(arguments, whole, is_input)
        if origin in _LISTS and arguments:
            return self._list(arguments[0], is_input)
        if origin is tuple and arguments:
            items = {argument for argument in arguments if argument is not ...}
            if len(items) == 1:
                return self._list(items.pop(), is_input)
            return _json("a tuple of different types is not a GraphQL list", whole, is_input)
        if annotation in _SCALARS:
            scalar = _SCALARS[annotation]
            if scalar == "Int" and is_big(marks):
                return Place(Leaf("BigInt"))
            return Place(Leaf("ID" if scalar == "String" and is_id(marks) else scalar))
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return self._enum(annotation, is_input)
        item = None if is_input else item_type_of(annotation)
        if item is not None:
            return Place(self._connection(annotation, item))
        if is_object(annotation):
            return self._object(annotation, is_input)
        if isinstance(annotation, type) and issubclass(annotation, RootModel):
            return self._root(annotation, is_input)
        cls = origin or annotation
        if isinstance(cls, type) and issubclass(cls, collections.abc.Mapping | dict):
            return _json("a dict has no fixed fields", whole, is_input)
        return _by_schema(whole, is_input)

    def _list(self, item: Any, is_input: bool) -> Place:
        place = self._place(item, is_input)
        return Place(ListOf(place), dump=place.dump)

    def _union(self, found: list[tuple[Any, tuple[Any, ...]]], is_input: bool) -> Place:
        classes = [each for each, _ in found]
        whole: Any = typing.Union[tuple(classes)]  # noqa: UP007 - made of a tuple
        if set(classes) == {int, float}:
            return Place(Leaf("Float"))
        if is_input:
            return _json("GraphQL has no input unions", whole, is_input)
        places = [self._one(each, marks, is_input) for each, marks in found]
        choices = tuple(place.shape for place in places if isinstance(place.shape, ObjectOf) and not place.shape.keyed)
        if len(choices) < len(places):
            return _json("a GraphQL union contains only object types with classes", whole, is_input)
        key = frozenset(id(choice) for choice in choices)
        if key not in self._known:
            name = self._named("Or".join(choice.name for choice in choices))
            self._known[key] = UnionOf(name, choices)
        return Place(self._known[key])

    def _literal(self, values: tuple[Any, ...], whole: Any, is_input: bool) -> Place:
        classes = {type(value) for value in values if value is not None}
        nullable = None in values
        values = tuple(value for value in values if value is not None)
        if len(classes) != 1:
            return _json("its values are of different types", whole, is_input)
        cls = classes.pop()
        if issubclass(cls, enum.Enum):
            place = self._enum(cls, is_input)
        elif cls is str and all(is_valid_name(value) and value not in _NOT_ENUM_VALUES for value in values):
            key = ("literal", values)
            if key not in self._known:
                name = "Or".join(camel_case(value) for value in values[:3]) + ("Etc" if len(values) > 3 else "")
                self._known[key] = EnumOf(self._named(name), {value: value for value in values})
            place = Place(self._known[key])
        else:
            place = (
                Place(Leaf(_SCALARS[cls]))
                if cls in _SCALARS
                else _json("its values have no GraphQL type", whole, is_input)
            )
        return Place(place.shape, nullable, place.dump)

    def _enum(self, cls: type[enum.Enum], is_input: bool) -> Place:
        members = {member.name: member for member in cls}
        legal = all(is_valid_name(name) and name not in _NOT_ENUM_VALUES for name in members)
        name = type_name(cls)
        if issubclass(cls, enum.Flag) or not members or not legal or name is None:
            return _json(f"not all names of {cls.__name__} are valid GraphQL names", cls, is_input)
        if cls not in self._known:
            self._known[cls] = EnumOf(self._named(name, cls), members, doc_of(cls))
        return Place(self._known[cls])

    def _root(self, cls: Any, is_input: bool) -> Place:
        place = self._place(cls.model_fields["root"].annotation, is_input)
        if is_input:
            return place
        if leaf_of(place) is None:
            return _json(f"{cls.__name__} is a RootModel of an object", cls, is_input)
        return Place(place.shape, place.nullable, Dump(cls))

    def _object(self, annotation: Any, is_input: bool) -> Place:
        key = (annotation, is_input)
        if key in self._known:
            return Place(self._known[key])
        cls = get_origin(annotation) or annotation
        parts = [part for part in parts_of(annotation) if (part.in_input if is_input else part.in_output)]
        methods = {} if is_input else self._methods_of(cls)
        name = type_name(annotation)
        names = {part.name: _shown(part.wire if is_input else part.shown, part.name) for part in parts}
        invalid = next((each for each, shown in names.items() if shown is None), None)
        if name is None or invalid is not None:
            return _json(f"'{invalid or _text(annotation)}' is not a valid GraphQL name", annotation, is_input)
        if not parts and not methods:
            return _json(f"{cls.__name__} has no fields", annotation, is_input)
        if is_input and not name.endswith("Input"):
            name += "Input"
        made = ObjectOf(
            self._named(name, annotation), cls, doc_of(annotation), keyed=is_typed_dict(cls), annotation=annotation
        )
        self._known[key] = made
        for part in parts:
            shown = names[part.name]
            assert shown is not None
            if shown in made.members:
                self.problems.append(
                    f"type '{cls.__qualname__}' ({cls.__module__}): its fields '{made.members[shown].key}' and "
                    f"'{part.name}' are both '{shown}' in GraphQL; rename one of them"
                )
            place = self._place(part.annotation, is_input)
            if is_input:
                made.members[shown] = member_of_input(
                    shown, part.wire, place, part.description, part.required, part.default
                )
            else:
                place = Place(place.shape, place.nullable or (not part.required and made.keyed), place.dump)
                if part.read is not None:
                    place = Place(place.shape, True)  # its serializer returns plain JSON
                made.members[shown] = Member(shown, part.name, place, part.description, read=part.read)
        for shown, method in methods.items():
            self._add_method(made, shown, method)
        return Place(made)

    def _connection(self, annotation: Any, item: Any) -> ObjectOf:
        """Return a `Page` as a connection. Source: the GraphQL Cursor Connections Specification of Relay."""
        found = self._known.get((annotation, False))
        if isinstance(found, ObjectOf):
            return found
        name = self._named(f"{type_name(item) or 'Item'}Connection")
        made = self._known[annotation, False] = ObjectOf(name, annotation, doc_of(annotation), annotation=annotation)
        edges = Place(ListOf(self._place(Edge[item], False)))
        made.members["edges"] = Member("edges", "edges", edges, "The items of this page.")
        made.members["pageInfo"] = Member("pageInfo", "page_info", self._place(PageInfo, False), "What follows it.")
        return made

    def _methods_of(self, cls: type) -> dict[str, Action]:
        found: dict[str, Action] = {}
        for base in reversed(cls.__mro__):
            for method in self._methods:
                if method.owner is base and not method.signature.streams:
                    shown = field_name(method.name.removeprefix(f"{method.class_name}."))
                    if shown is not None:
                        found[shown] = method
        return found

    def _add_method(self, made: ObjectOf, shown: str, method: Action) -> None:
        member = made.members.get(shown)
        if member is not None:
            self.problems.append(
                str(
                    method.problem(
                        f"is '{shown}' in GraphQL, like the field '{member.key}' of {made.name}; rename one of them"
                    )
                )
            )
        try:
            made.actions[shown] = self.field(shown, method)
        except NotOffered:
            pass  # `servey actions` shows the reason

    def _named(self, name: str, annotation: Any = None) -> str:
        """Return a unique type name. The second class with the same name gets its module as a prefix."""
        suffix = "Input" if name.endswith("Input") else ""
        qualified = [(type_name(annotation, qualify) or "").removesuffix("Input") for qualify in ("arguments", "all")]
        others = [each + suffix for each in qualified if each]
        candidates = itertools.chain([name, *others], (f"{name}{number}" for number in itertools.count(2)))
        chosen = next(each for each in candidates if is_valid_name(each) and each not in self._names)
        self._names.add(chosen)
        return chosen


def _alternatives(annotation: Any, marks: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield the union members of an annotation, unwrapped, each with its metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0], (*marks, *get_args(annotation)[1:]))
    elif origin in (typing.Union, types.UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part, marks)
    elif isinstance(annotation, typing.NewType):
        # Strawberry's own ID; recognized without importing Strawberry.
        if annotation.__name__ == "ID" and str(annotation.__module__).startswith("strawberry."):
            marks = (*marks, IdMark())
        yield from _alternatives(annotation.__supertype__, marks)
    elif isinstance(annotation, typing_extensions.TypeAliasType):
        yield from _alternatives(annotation.__value__, marks)
    elif origin in (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired):
        yield from _alternatives(get_args(annotation)[0], marks)
    else:
        yield annotation, marks


def _shown(wire: str, name: str) -> str | None:
    return field_name(wire) or field_name(name)


def _json(reason: str, annotation: Any, is_input: bool) -> Place:
    return Place(Leaf("JSON", reason), dump=None if is_input else Dump(annotation))


def _by_schema(annotation: Any, is_input: bool) -> Place:
    """Return the scalar for a type with a custom Pydantic schema, by its JSON schema."""
    try:
        schema = TypeAdapter(annotation).json_schema(mode="validation" if is_input else "serialization")
        scalar = _OF_SCHEMA.get(schema.get("type", ""))
    except Exception:
        scalar = None
    if scalar is None:
        return _json(f"{_text(annotation)} has no GraphQL type", annotation, is_input)
    return Place(Leaf(scalar), dump=None if is_input else Dump(annotation))


def _text(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")
