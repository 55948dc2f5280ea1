"""Completes values faster where that is simple: objects of which only plain attributes are selected.

Such a sub-selection becomes one Python function that makes the object's part of the answer. It does so for values that are
just what their types say; whatever is odd, graphql-core does over on the same object, so that errors, their paths and
what becomes null are graphql-core's own.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from math import isfinite
from types import CoroutineType, NoneType
from typing import Any, TypeAlias, TypeGuard
from uuid import UUID

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    SelectionSetNode,
    is_leaf_type,
)

from servey.compat.graphql import Executor, FieldDetails
from servey.graphql.operation import LimitExceeded, Operation
from servey.graphql.schema import MEMBER
from servey.graphql.shapes import Member, ObjectOf

Complete: TypeAlias = Callable[[Any, Operation], dict[str, Any]]
"""Makes an object's part of the answer, or raises anything at all."""

Plans: TypeAlias = dict[tuple[int, str], Complete | None]
"""What was compiled of a document, by the field that selects and the type that it selects from."""

_PLAIN = {str, int, float, bool, NoneType, dict, list, tuple}
_EXACT = {
    "String": "type({v}) is str",
    "ID": "type({v}) is str",
    "Boolean": "type({v}) is bool",
    "Int": "type({v}) is int and -2147483648 <= {v} <= 2147483647",
    "Float": "type({v}) is float and isfinite({v})",
    "DateTime": "type({v}) is datetime",
    "Date": "type({v}) is date",
    "UUID": "type({v}) is UUID",
}


class _NotSimple(Exception):
    """A selection that is left to graphql-core."""


class _Odd(Exception):
    """A value that is left to graphql-core."""


def is_awaitable(value: Any) -> TypeGuard[Awaitable[Any]]:
    """Whether a value has to be waited for; what usually comes is told apart at once."""
    cls = type(value)
    return cls not in _PLAIN and (cls is CoroutineType or hasattr(cls, "__await__"))


class CompilingExecutor(Executor):  # type: ignore[type-arg]
    """graphql-core's executor, which counts objects and hands simple ones to compiled functions."""

    plans: Plans

    def complete_iterable_value(
        self, item_type: Any, field_details_list: Any, info: Any, path: Any, items: Any, position_context: Any
    ) -> Any:
        operation: Operation = self.context_value
        inner = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
        if isinstance(inner, GraphQLObjectType | GraphQLUnionType) and not inner.name.startswith("__"):
            if isinstance(items, list | tuple):
                operation.has_room_for(len(items))
            if isinstance(inner, GraphQLObjectType) and type(items) in (list, tuple):
                complete = self.plan(inner, field_details_list)
                if complete is not None:
                    before = operation.nodes
                    try:
                        operation.count(len(items))
                        if inner is item_type:
                            return [None if item is None else complete(item, operation) for item in items]
                        return [complete(item, operation) for item in items]
                    except LimitExceeded:
                        raise
                    except Exception:
                        operation.nodes = before
        return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)

    def complete_object_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        if not return_type.name.startswith("__"):
            operation: Operation = self.context_value
            operation.count(1)
            complete = self.plan(return_type, field_details_list)
            if complete is not None:
                before = operation.nodes
                try:
                    return complete(result, operation)
                except LimitExceeded:
                    raise
                except Exception:
                    operation.nodes = before
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)

    def plan(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> Complete | None:
        """What was compiled for a field's selection; None where graphql-core has to do it."""
        if len(details) != 1:
            return None
        key = (id(details[0].node), type_.name)
        if key not in self.plans:
            self.plans[key] = _compiled(self, type_, details)
        return self.plans[key]


def _compiled(executor: CompilingExecutor, type_: GraphQLObjectType, details: list[FieldDetails]) -> Complete | None:
    try:
        if _has_directives(details[0].node.selection_set, executor.fragment_definitions, set()):
            return None
        source = _Source(executor)
        name = source.object(type_, details)
    except _NotSimple:
        return None
    exec("\n".join(source.lines), source.names)
    compiled: Complete = source.names[name]
    return compiled


def _has_directives(selected: SelectionSetNode | None, fragments: Mapping[str, Any], seen: set[str]) -> bool:
    """Whether something below may be left out, or is to be handled in another way."""
    if selected is None:
        return False
    for each in selected.selections:
        if each.directives:
            return True
        if isinstance(each, FragmentSpreadNode):
            name = each.name.value
            if name not in seen:
                seen.add(name)
                if fragments[name].directives or _has_directives(fragments[name].selection_set, fragments, seen):
                    return True
        elif _has_directives(getattr(each, "selection_set", None), fragments, seen):
            return True
    return False


class _Source:
    """Writes the functions of a selection, the innermost first."""

    def __init__(self, executor: CompilingExecutor) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "Odd": _Odd, "isfinite": isfinite, "items": _items, "objects": _objects, "written": _written,
            "datetime": dt.datetime, "date": dt.date, "UUID": UUID,
        }  # fmt: skip
        self._executor = executor
        self._count = 0

    def object(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> str:
        """Writes the function of an object type; gives its name."""
        shape = type_.extensions.get(MEMBER)
        if not isinstance(shape, ObjectOf):
            raise _NotSimple
        grouped = self._executor.collect_subfields(type_, details).grouped_field_set
        reads, entries = [], []
        for shown, group in grouped.items():
            if len(group) != 1:
                raise _NotSimple
            node = group[0].node
            if node.name.value == "__typename":
                entries.append(f"{shown!r}: {type_.name!r}")
                continue
            found = type_.fields.get(node.name.value)
            read, value = self._member(found, node, group, shape)
            reads.append(read)
            entries.append(f"{shown!r}: {value}")
        name = self._named("complete", None)
        cls = self._named("cls", dict if shape.keyed else shape.cls)
        self.lines += [
            f"def {name}(o, b):",
            f"  if type(o) is not {cls}: raise Odd",
            *(f"  {read}" for read in reads),
            f"  return {{{', '.join(entries)}}}",
        ]
        return name

    def _member(
        self, found: GraphQLField | None, node: FieldNode, group: list[FieldDetails], shape: ObjectOf
    ) -> tuple[str, str]:
        member = found.extensions.get(MEMBER) if found is not None else None
        if found is None or not isinstance(member, Member):
            raise _NotSimple
        value = self._named("v", None)
        if member.read is not None:
            read = f"{value} = {self._named('read', member.read)}(o)"
        else:
            got = f"o[{member.key!r}]" if shape.keyed else f"o.{member.key}"
            read = f"{value} = {got}"
            if member.place.dump is not None:
                read = f"{value} = {self._named('dump', member.place.dump)}({got})"
        return read, self._value(found.type, value, group)

    def _value(self, type_: Any, value: str, group: list[FieldDetails]) -> str:
        if not isinstance(type_, GraphQLNonNull):
            return f"None if {value} is None else {self._some(type_, value, group)}"
        return self._some(type_.of_type, value, group)

    def _some(self, type_: Any, value: str, group: list[FieldDetails]) -> str:
        if isinstance(type_, GraphQLList):
            inner = type_.of_type.of_type if isinstance(type_.of_type, GraphQLNonNull) else type_.of_type
            item = self._named("x", None)
            taken = f"objects(b, {value})" if isinstance(inner, GraphQLObjectType) else f"items({value})"
            if isinstance(inner, GraphQLObjectType):
                call = f"{self.object(inner, group)}({item}, b)"
                made = call if inner is not type_.of_type else f"None if {item} is None else {call}"
            else:
                made = self._value(type_.of_type, item, group)
            return f"[{made} for {item} in {taken}]"
        if isinstance(type_, GraphQLObjectType):
            return f"{self.object(type_, group)}(b.one({value}), b)"
        if not is_leaf_type(type_):
            raise _NotSimple
        other = f"written({self._named('write', type_.coerce_output_value)}, {value})"
        if type_.name in _EXACT:
            return f"({value} if {_EXACT[type_.name].format(v=value)} else {other})"
        return other

    def _named(self, kind: str, value: Any) -> str:
        self._count += 1
        name = f"{kind}{self._count}"
        if value is not None:
            self.names[name] = value
        return name


def _items(values: Any) -> Any:
    if type(values) in (list, tuple, set, frozenset, deque):
        return values
    raise _Odd


def _objects(operation: Operation, values: Any) -> Any:
    if type(values) in (list, tuple):
        operation.count(len(values))
        return values
    raise _Odd


def _written(write: Callable[[Any], Any], value: Any) -> Any:
    if value is None or isinstance(value, BaseException):
        raise _Odd
    written = write(value)
    if written is None:
        raise _Odd
    return written
