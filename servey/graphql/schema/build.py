"""Builds the schema: one generated Strawberry class for each shape. The users' classes are not modified.

Strawberry checks the schema and converts it to graphql-core types. This module then binds those types: fields read from the
users' own objects, and arguments arrive as plain values for the action's validator.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Optional, TypeAlias, Union

import strawberry
from graphql import (
    DEFAULT_DEPRECATION_REASON,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
)
from graphql.language import FloatValueNode, IntValueNode, StringValueNode
from graphql.utilities import value_from_ast_untyped
from strawberry.annotation import StrawberryAnnotation
from strawberry.schema.config import StrawberryConfig
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField

from servey.compat.graphql import OMITTED, core_schema, show_default
from servey.graphql.schema.fields import ChannelField, Fields, shapes_of
from servey.graphql.schema.scalars import DESCRIPTIONS, MARKERS, WRITERS, reader_of
from servey.graphql.schema.shapes import (
    NO_DEFAULT,
    EnumOf,
    Field,
    Leaf,
    ListOf,
    Member,
    ObjectOf,
    Place,
    Shape,
    UnionOf,
)
from servey.graphql.schema.unions import member_of

Resolve: TypeAlias = Callable[..., Any]
ResolverOf: TypeAlias = Callable[[Field | ChannelField], Resolve]
"""Returns the resolver of a field: ``resolve(source, info, **arguments)``."""

_OWN = {"Boolean": bool, "Float": float, "ID": strawberry.ID, "Int": int, "String": str}
MEMBER = "servey"
"""The key in a graphql-core field's ``extensions`` that holds its `Member`."""


def build_schema(fields: Fields, resolver_of: ResolverOf) -> GraphQLSchema:
    """Return the graphql-core schema of these fields."""
    classes = _StrawberryClasses()
    query: Mapping[str, Field | None] = fields.queries or {"_empty": None}
    schema = strawberry.Schema(
        query=classes.root("Query", query),
        mutation=classes.root("Mutation", fields.mutations),
        subscription=classes.root("Subscription", fields.subscriptions),
        config=StrawberryConfig(auto_camel_case=False, scalar_map=_scalars()),
    )
    core = core_schema(schema)
    shapes = shapes_of(fields)
    for shape in shapes:
        _bind_shape(core, shape)
    for shape in shapes:
        _bind_fields(core, shape, resolver_of)
    for root_type, roots in (
        (core.query_type, fields.queries),
        (core.mutation_type, fields.mutations),
        (core.subscription_type, fields.subscriptions),
    ):
        for name, each in roots.items():
            assert root_type is not None
            _bind_field(root_type.fields[name], each, resolver_of)
    if not fields.queries and core.query_type is not None:
        core.query_type.fields["_empty"].resolve = lambda source, info: None
    return core


def _scalars() -> dict[object, Any]:
    return {
        MARKERS[name]: strawberry.scalar(
            name=name,
            description=description,
            serialize=WRITERS[name],
            parse_value=reader_of(name),
            parse_literal=_literal_reader(name),
        )
        for name, description in DESCRIPTIONS.items()
    }


def _literal_reader(name: str) -> Callable[[Any, Any], Any]:
    read = reader_of(name)

    def read_literal(node: Any, variables: Any = None) -> Any:
        if name == "Decimal" and isinstance(node, FloatValueNode | IntValueNode | StringValueNode):
            return node.value  # keep all digits
        return read(_without_undefined(value_from_ast_untyped(node, variables)))

    return read_literal


def _without_undefined(value: Any) -> Any:
    """Drop the keys of missing variables from a JSON literal; in a list they are null."""
    if isinstance(value, dict):
        return {name: _without_undefined(item) for name, item in value.items() if item is not Undefined}
    if isinstance(value, list):
        return [None if item is Undefined else _without_undefined(item) for item in value]
    return value


class _StrawberryClasses:
    """Creates each class once."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def root(self, name: str, fields: Mapping[str, Field | ChannelField | None]) -> Any:
        if not fields:
            return None
        made = [self._root_field(shown, each) for shown, each in fields.items()]
        return _class(name, made, None)

    def _root_field(self, shown: str, each: Field | ChannelField | None) -> StrawberryField:
        if each is None:
            return _field(shown, Optional[bool], "A placeholder: a schema needs at least one query.")  # noqa: UP045
        if isinstance(each, ChannelField):
            return self._field(shown, each, each.channel.description)
        return self._field(shown, each, each.action.description)

    def _field(self, shown: str, each: Field | ChannelField, description: str | None) -> StrawberryField:
        made = _field(shown, self.annotation(each.place), description)
        if isinstance(each, Field) and each.action.deprecated:
            made.deprecation_reason = DEFAULT_DEPRECATION_REASON
        made.arguments = [self._argument(member) for member in each.arguments.values()]
        return made

    def _argument(self, member: Member) -> StrawberryArgument:
        return StrawberryArgument(
            python_name=f"p_{member.name}",
            graphql_name=member.name,
            type_annotation=StrawberryAnnotation(self.annotation(member.place, is_input=True)),
            description=member.description,
        )

    def annotation(self, place: Place, is_input: bool = False) -> Any:
        """Return a place as an annotation for Strawberry."""
        found = self._type(place.shape, is_input)
        return Optional[found] if place.nullable else found  # noqa: UP045 - found may be no class

    def _type(self, shape: Shape, is_input: bool) -> Any:
        if isinstance(shape, ListOf):
            return list[self.annotation(shape.item, is_input)]  # type: ignore[misc]
        if isinstance(shape, Leaf):
            return _OWN.get(shape.scalar) or MARKERS[shape.scalar]
        if id(shape) not in self._made:
            if isinstance(shape, EnumOf):
                # A copy, since Strawberry sets attributes on the class.
                # The prefix allows names that Python's enums reserve.
                names = {f"m_{name}": strawberry.enum_value(name, name=name) for name in shape.members}
                copy: Any = enum.Enum(shape.name, names)  # type: ignore[misc]
                self._made[id(shape)] = strawberry.enum(copy, description=shape.description)
            elif isinstance(shape, UnionOf):
                choices = tuple(self._type(choice, False) for choice in shape.choices)
                union = strawberry.union(shape.name)
                self._made[id(shape)] = Annotated[Union[choices], union]  # noqa: UP007 - made of a tuple
            else:
                self._object(shape, is_input)
        return self._made[id(shape)]

    def _object(self, shape: ObjectOf, is_input: bool) -> None:
        # Register it before its fields, since it may contain itself.
        cls = self._made[id(shape)] = types.new_class(shape.name)
        made = [
            _field(name, self.annotation(member.place, is_input), member.description)
            for name, member in shape.members.items()
        ]
        made += [self._field(name, each, each.action.description) for name, each in shape.actions.items()]
        _decorate(cls, made, shape.description, is_input)


def _field(shown: str, annotation: Any, description: str | None) -> StrawberryField:
    return StrawberryField(
        python_name=f"f_{shown}",
        graphql_name=shown,
        type_annotation=StrawberryAnnotation(annotation),
        description=description,
    )


def _class(name: str, fields: Iterable[StrawberryField], description: str | None) -> Any:
    cls = types.new_class(name)
    _decorate(cls, fields, description, False)
    return cls


def _decorate(cls: Any, fields: Iterable[StrawberryField], description: str | None, is_input: bool) -> None:
    cls.__annotations__ = {}
    for each in fields:
        assert each.python_name is not None
        setattr(cls, each.python_name, each)
        assert each.type_annotation is not None
        cls.__annotations__[each.python_name] = each.type_annotation.raw_annotation
    strawberry.type(cls, is_input=is_input, name=cls.__name__, description=description)


# ------------------------------------------------------------------------------------- binding of values


def _bind_shape(core: GraphQLSchema, shape: Shape) -> None:
    found = core.type_map.get(getattr(shape, "name", ""))
    if isinstance(shape, EnumOf) and isinstance(found, GraphQLEnumType):
        _bind_enum(found, shape)
    elif isinstance(shape, UnionOf) and isinstance(found, GraphQLUnionType):
        found.resolve_type = _type_resolver(shape)
    elif isinstance(shape, ObjectOf) and isinstance(found, GraphQLInputObjectType):
        found.out_type = _only_sent  # type: ignore[method-assign]
    elif isinstance(shape, ObjectOf) and isinstance(found, GraphQLObjectType):
        found.is_type_of = None
        found.extensions[MEMBER] = shape
        for name, member in shape.members.items():
            found.fields[name].resolve = attribute_reader(member, keyed=shape.keyed)
            found.fields[name].extensions[MEMBER] = member


def _bind_fields(core: GraphQLSchema, shape: Shape, resolver_of: ResolverOf) -> None:
    """Bind what needs the enums to be bound already: defaults, and actions with their arguments."""
    found = core.type_map.get(getattr(shape, "name", ""))
    if isinstance(shape, ObjectOf) and isinstance(found, GraphQLInputObjectType):
        for name, member in shape.members.items():
            _bind_input(found.fields[name], member)
    elif isinstance(shape, ObjectOf) and isinstance(found, GraphQLObjectType):
        for name, each in shape.actions.items():
            _bind_field(found.fields[name], each, resolver_of)


def _bind_input(found: GraphQLArgument | GraphQLInputField, member: Member) -> None:
    found.out_name = member.key
    if member.default is not NO_DEFAULT:
        show_default(found, member.default)


def _only_sent(value: dict[str, Any]) -> dict[str, Any]:
    """Return only the input fields that the client sent."""
    return {name: item for name, item in value.items() if item is not OMITTED}


def _bind_field(found: GraphQLField, each: Field | ChannelField, resolver_of: ResolverOf) -> None:
    resolve = resolver_of(each)
    if isinstance(each, ChannelField) or (each.action.class_name is None and each.action.signature.streams):
        found.subscribe, found.resolve = resolve, _return_source
    else:
        found.resolve = resolve
    for name, member in each.arguments.items():
        _bind_input(found.args[name], member)


def _return_source(source: Any, info: Any, /, **arguments: Any) -> Any:
    return source


def attribute_reader(member: Member, *, keyed: bool) -> Resolve:
    """Return a resolver that reads a member from its object."""
    key, read, dump = member.key, member.read, member.place.dump

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        if read is not None:
            return read(source)
        value = source.get(key) if keyed else getattr(source, key)
        return value if dump is None else dump(value)

    return resolve


def _bind_enum(found: GraphQLEnumType, shape: EnumOf) -> None:
    """Convert between enum names and the user's own members."""
    names: dict[Any, str] = {}
    for name, member in shape.members.items():
        names[member] = name
        if isinstance(member, enum.Enum):
            # A model with use_enum_values holds plain values.
            try:
                names.setdefault(member.value, name)
            except TypeError:
                pass

    def write(value: Any) -> str:
        try:
            return names[value]
        except (KeyError, TypeError):
            raise TypeError(f"{shape.name} has no member for this value") from None

    for name, member in shape.members.items():
        found.values[name].value = member
    plain = GraphQLEnumType
    for method in ("coerce_output_value", "serialize"):
        setattr(found, method, write)
    for method in ("coerce_input_value", "coerce_input_literal", "parse_value", "parse_literal"):
        # Strawberry's methods would return members of the generated class.
        setattr(found, method, getattr(plain, method).__get__(found))


def _type_resolver(shape: UnionOf) -> Callable[..., str | None]:
    def choose(value: Any, info: Any, of: Any) -> str | None:
        member = member_of(shape, value)
        return None if member is None else member.name

    return choose
