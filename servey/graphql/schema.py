"""Builds the schema: for every shape a Strawberry class of our own, a twin; the users' classes are left as they are.

Strawberry checks the schema and makes graphql-core's types of it. How values are read is then said by us, on those types:
fields read the users' own objects, arguments arrive as the plain values that the action's validator takes.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Optional, TypeAlias, Union

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
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

from servey.compat.graphql import schema_of
from servey.graphql.fields import ChannelField, Fields, shapes_of
from servey.graphql.scalars import DESCRIPTIONS, MARKERS, WRITERS, reader_of
from servey.graphql.shapes import (
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

Resolve: TypeAlias = Callable[..., Any]
ResolverOf: TypeAlias = Callable[[Field | ChannelField], Resolve]
"""Gives what resolves a field: ``resolve(source, info, **arguments)``."""

_OWN = {"Boolean": bool, "Float": float, "ID": strawberry.ID, "Int": int, "String": str}
MEMBER = "servey"
"""Where a field of graphql-core tells which member it shows."""


def build_schema(fields: Fields, resolver_of: ResolverOf) -> GraphQLSchema:
    """The schema of these fields, in graphql-core's terms."""
    twins = _Twins()
    query: Mapping[str, Field | None] = fields.queries or {"_empty": None}
    schema = strawberry.Schema(
        query=twins.root("Query", query),
        mutation=twins.root("Mutation", fields.mutations),
        subscription=twins.root("Subscription", fields.subscriptions),
        config=StrawberryConfig(auto_camel_case=False, scalar_map=_scalars()),
    )
    core = schema_of(schema)
    for shape in shapes_of(fields):
        _tell(core, shape, resolver_of)
    for root_type, roots in (
        (core.query_type, fields.queries),
        (core.mutation_type, fields.mutations),
        (core.subscription_type, fields.subscriptions),
    ):
        for name, each in roots.items():
            assert root_type is not None
            _tell_field(root_type.fields[name], each, resolver_of)
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
            return node.value  # as it is written
        return read(value_from_ast_untyped(node, variables))

    return read_literal


class _Twins:
    """Makes each twin once."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def root(self, name: str, fields: Mapping[str, Field | ChannelField | None]) -> Any:
        if not fields:
            return None
        made = [self._root_field(shown, each) for shown, each in fields.items()]
        return _class(name, made, None)

    def _root_field(self, shown: str, each: Field | ChannelField | None) -> StrawberryField:
        if each is None:
            return _field(shown, Optional[bool], "There are no queries; a schema has to have one.")  # noqa: UP045
        if isinstance(each, ChannelField):
            return self._field(shown, each, each.channel.description)
        return self._field(shown, each, each.action.description)

    def _field(self, shown: str, each: Field | ChannelField, description: str | None) -> StrawberryField:
        made = _field(shown, self.annotation(each.place), description)
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
        """A place as Strawberry is told of it."""
        found = self._type(place.shape, is_input)
        return Optional[found] if place.nullable else found  # noqa: UP045 - found may be no class

    def _type(self, shape: Shape, is_input: bool) -> Any:
        if isinstance(shape, ListOf):
            return list[self.annotation(shape.item, is_input)]  # type: ignore[misc]
        if isinstance(shape, Leaf):
            return _OWN.get(shape.scalar) or MARKERS[shape.scalar]
        if id(shape) not in self._made:
            if isinstance(shape, EnumOf):
                # Of its own, so that nothing is written on the user's class.
                copy = enum.Enum(shape.name, {name: name for name in shape.members})  # type: ignore[misc]
                self._made[id(shape)] = strawberry.enum(copy, description=shape.description)
            elif isinstance(shape, UnionOf):
                choices = tuple(self._type(choice, False) for choice in shape.choices)
                union = strawberry.union(shape.name)
                self._made[id(shape)] = Annotated[Union[choices], union]  # noqa: UP007 - made of a tuple
            else:
                self._object(shape, is_input)
        return self._made[id(shape)]

    def _object(self, shape: ObjectOf, is_input: bool) -> None:
        # Known before its fields are, since it may hold itself.
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


# ------------------------------------------------------------------------------------- how values are read


def _tell(core: GraphQLSchema, shape: Shape, resolver_of: ResolverOf) -> None:
    found = core.type_map.get(getattr(shape, "name", ""))
    if isinstance(shape, EnumOf) and isinstance(found, GraphQLEnumType):
        _tell_enum(found, shape)
    elif isinstance(shape, UnionOf) and isinstance(found, GraphQLUnionType):
        found.resolve_type = _chooser(shape)
    elif isinstance(shape, ObjectOf) and isinstance(found, GraphQLInputObjectType):
        for name, member in shape.members.items():
            found.fields[name].out_name = member.key
            found.fields[name].default_value = _default(member)
    elif isinstance(shape, ObjectOf) and isinstance(found, GraphQLObjectType):
        found.is_type_of = None
        found.extensions[MEMBER] = shape
        for name, member in shape.members.items():
            found.fields[name].resolve = attribute_reader(member, keyed=shape.keyed)
            found.fields[name].extensions[MEMBER] = member
        for name, each in shape.actions.items():
            _tell_field(found.fields[name], each, resolver_of)


def _default(member: Member) -> Any:
    return Undefined if member.default is NO_DEFAULT else member.default


def _tell_field(found: GraphQLField, each: Field | ChannelField, resolver_of: ResolverOf) -> None:
    resolve = resolver_of(each)
    if isinstance(each, ChannelField) or (each.action.class_name is None and each.action.signature.streams):
        found.subscribe, found.resolve = resolve, _event
    else:
        found.resolve = resolve
    for name, member in each.arguments.items():
        argument: GraphQLArgument = found.args[name]
        argument.out_name = member.key
        argument.default_value = _default(member)


def _event(source: Any, info: Any, /, **arguments: Any) -> Any:
    return source


def attribute_reader(member: Member, *, keyed: bool) -> Resolve:
    """What reads a member off its object."""
    key, read, dump = member.key, member.read, member.place.dump

    def resolve(source: Any, info: Any, /, **arguments: Any) -> Any:
        if read is not None:
            return read(source)
        value = source.get(key) if keyed else getattr(source, key)
        return value if dump is None else dump(value)

    return resolve


def _tell_enum(found: GraphQLEnumType, shape: EnumOf) -> None:
    """Has an enum give and take the user's own members, by name."""
    names: dict[Any, str] = {}
    for name, member in shape.members.items():
        names[member] = name
        if isinstance(member, enum.Enum):
            # A model may keep the values only.
            try:
                names.setdefault(member.value, name)
            except TypeError:
                pass

    def write(value: Any) -> str:
        try:
            return names[value]
        except (KeyError, TypeError):
            raise TypeError(f"{shape.name} has no such value") from None

    for name, member in shape.members.items():
        found.values[name].value = member
    plain = GraphQLEnumType
    for method in ("coerce_output_value", "serialize"):
        setattr(found, method, write)
    for method in ("coerce_input_value", "coerce_input_literal", "parse_value", "parse_literal"):
        # Strawberry's own would make its twin's members of them.
        setattr(found, method, getattr(plain, method).__get__(found))


def _chooser(shape: UnionOf) -> Callable[..., str | None]:
    exact = {choice.cls: choice.name for choice in shape.choices}

    def choose(value: Any, info: Any, of: Any) -> str | None:
        name = exact.get(type(value))
        if name is None:
            name = next((choice.name for choice in shape.choices if isinstance(value, _origin(choice.cls))), None)
        return name

    return choose


def _origin(cls: Any) -> Any:
    generic = getattr(cls, "__pydantic_generic_metadata__", None)
    return (generic and generic["origin"]) or cls
