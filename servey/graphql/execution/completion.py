"""A fast path for value completion: selections of plain attributes only.

Such a selection is compiled to one Python function that builds the object's part of the response. The function accepts only
values of exactly the expected types. For any other value it falls back: graphql-core completes the same object again, so
that errors, paths and null propagation are those of graphql-core.
"""

from __future__ import annotations

import datetime as dt
import keyword
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import CoroutineType, NoneType
from typing import Any, TypeAlias, TypeGuard
from uuid import UUID

from graphql import (
    FragmentSpreadNode,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    SelectionSetNode,
    is_leaf_type,
)

from servey.compat.graphql import FieldDetails
from servey.graphql.execution.concurrency import FinishingExecutor
from servey.graphql.execution.limits import LimitExceeded
from servey.graphql.execution.method_calls import (
    CompiledMethod,
    Finish,
    MethodCalls,
    SelectedMethod,
    selected_methods,
)
from servey.graphql.execution.methods import MethodField
from servey.graphql.execution.operation import Operation
from servey.graphql.schema.build import MEMBER
from servey.graphql.schema.shapes import Member, ObjectOf

Complete: TypeAlias = Callable[[Any, Operation], dict[str, Any]]
"""Builds an object's part of the response; any exception means: fall back to graphql-core."""


@dataclass(frozen=True)
class CompiledSelection:
    """The compiled function of a selection.

    ``remaining`` are the response names of fields that it does not read, such as methods. The function's result has
    None for them, so that the response keeps the order of the selection. ``methods`` are these fields if all of them are
    methods, so that they can be called without graphql-core; else None.
    """

    complete: Complete
    remaining: tuple[str, ...]
    methods: tuple[CompiledMethod, ...] | None = None


Plans: TypeAlias = dict[tuple[int, str], CompiledSelection | None]
"""The compiled selections of a document, keyed by field node and type name. None: not compilable."""

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


class _NotCompilable(Exception):
    """A selection that cannot be compiled."""


class _Fallback(Exception):
    """A value that graphql-core must complete."""


def is_awaitable(value: Any) -> TypeGuard[Awaitable[Any]]:
    """Whether a value is awaitable. Checks the common types first."""
    cls = type(value)
    return cls not in _PLAIN and (cls is CoroutineType or hasattr(cls, "__await__"))


class CompilingExecutor(FinishingExecutor):
    """graphql-core's executor with a node budget and compiled selections."""

    plans: Plans

    def unlink(self) -> None:
        """Drop its references to itself after the execution, so that it is freed without the cyclic garbage collector."""
        del self.async_helpers

    def complete_iterable_value(
        self, item_type: Any, field_details_list: Any, info: Any, path: Any, items: Any, position_context: Any
    ) -> Any:
        operation: Operation = self.context_value
        inner = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
        if isinstance(inner, GraphQLObjectType | GraphQLUnionType) and not inner.name.startswith("__"):
            if isinstance(items, list | tuple):
                operation.require_room_for(len(items))
            if isinstance(inner, GraphQLObjectType) and type(items) in (list, tuple):
                selection = self.plan(inner, field_details_list)
                selected: list[SelectedMethod] | None = []
                if selection is not None and selection.remaining:
                    grouped = self.collect_subfields(inner, field_details_list).grouped_field_set
                    selected = selected_methods(self, selection.methods, grouped)
                if selection is not None and selected is not None:
                    results = self._completed(selection.complete, items, operation, inner is item_type)
                    if results is not None and selected:
                        called = sum(result is not None for result in results)
                        operation.count_calls(called * len(selected))
                        return MethodCalls(
                            self, selected, items, results, inner, item_type, field_details_list, path, position_context
                        ).run()
                    if results is not None:
                        return results
        return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)

    def _completed(
        self, complete: Complete, items: Sequence[Any], operation: Operation, is_nullable: bool
    ) -> list[dict[str, Any] | None] | None:
        """Return the items' parts of the response, or None if graphql-core must complete them. Errors: LimitExceeded."""
        before = operation.nodes
        try:
            operation.count(len(items))
            if is_nullable:
                return [None if item is None else complete(item, operation) for item in items]
            return [complete(item, operation) for item in items]
        except LimitExceeded:
            raise
        except Exception:
            operation.nodes = before
            return None

    def complete_object_value(
        self, return_type: Any, field_details_list: Any, info: Any, path: Any, result: Any, position_context: Any
    ) -> Any:
        if not return_type.name.startswith("__"):
            operation: Operation = self.context_value
            operation.count(1)
            selection = self.plan(return_type, field_details_list)
            if selection is not None:
                before = operation.nodes
                try:
                    completed = selection.complete(result, operation)
                except LimitExceeded:
                    raise
                except Exception:
                    operation.nodes = before
                else:
                    if not selection.remaining:
                        return completed
                    grouped = self.collect_subfields(return_type, field_details_list).grouped_field_set
                    remaining = {name: grouped[name] for name in selection.remaining}
                    return self.execute_remaining(completed, return_type, result, path, remaining, position_context)
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)

    def plan(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> CompiledSelection | None:
        """Return a field's compiled selection, or None if nothing of it can be compiled."""
        if len(details) != 1:
            return None
        key = (id(details[0].node), type_.name)
        if key not in self.plans:
            self.plans[key] = _compiled(self, type_, details)
        return self.plans[key]


def _compiled(
    executor: CompilingExecutor, type_: GraphQLObjectType, details: list[FieldDetails]
) -> CompiledSelection | None:
    remaining: dict[str, list[FieldDetails]] = {}
    try:
        if has_directives(details[0].node.selection_set, executor.fragment_definitions, set()):
            return None
        source = _Source(executor)
        name = source.object(type_, details, remaining)
    except _NotCompilable:
        return None
    finishers = {shown: source.finisher(type_, group) for shown, group in remaining.items()}
    exec("\n".join(source.lines), source.names)
    methods = []
    for shown, group in remaining.items():
        field = type_.fields.get(group[0].node.name.value)
        if field is not None and isinstance(field.resolve, MethodField):
            finisher = finishers[shown]
            finish = source.names[finisher] if finisher is not None else None
            methods.append(CompiledMethod(shown, field, field.resolve, finish))
    return CompiledSelection(
        source.names[name], tuple(remaining), tuple(methods) if len(methods) == len(remaining) else None
    )


def finisher_of(executor: CompilingExecutor, type_: GraphQLObjectType, details: list[FieldDetails]) -> Finish | None:
    """Return what completes the values of a field of ``type_``, or None if graphql-core has to."""
    source = _Source(executor)
    name = source.finisher(type_, details)
    if name is None:
        return None
    exec("\n".join(source.lines), source.names)
    finish: Finish = source.names[name]
    return finish


def has_directives(selected: SelectionSetNode | None, fragments: Mapping[str, Any], seen: set[str]) -> bool:
    """Whether any directive appears in the selection."""
    if selected is None:
        return False
    for each in selected.selections:
        if each.directives:
            return True
        if isinstance(each, FragmentSpreadNode):
            name = each.name.value
            if name not in seen:
                seen.add(name)
                if fragments[name].directives or has_directives(fragments[name].selection_set, fragments, seen):
                    return True
        elif has_directives(getattr(each, "selection_set", None), fragments, seen):
            return True
    return False


class _Source:
    """Generates the source code of a selection's functions, innermost first."""

    def __init__(self, executor: CompilingExecutor) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "Fallback": _Fallback, "isfinite": isfinite, "items": _items, "objects": _objects, "written": _written,
            "datetime": dt.datetime, "date": dt.date, "UUID": UUID,
        }  # fmt: skip
        self._executor = executor
        self._count = 0

    def finisher(self, type_: GraphQLObjectType, group: list[FieldDetails]) -> str | None:
        """Emit the function that completes the values of a field and return its name; None if it cannot be compiled."""
        found = type_.fields.get(group[0].node.name.value)
        if found is None or len(group) != 1:
            return None
        try:
            value = self._value(found.type, "v", group)
        except _NotCompilable:
            return None
        name = self._named("finish", None)
        self.lines += [f"def {name}(v, b):", f"  return {value}"]
        return name

    def object(
        self,
        type_: GraphQLObjectType,
        details: list[FieldDetails],
        remaining: dict[str, list[FieldDetails]] | None = None,
    ) -> str:
        """Emit the function of an object type and return its name.

        Fields that cannot be compiled are added to ``remaining``. Errors: _NotCompilable if it is None.
        """
        shape = type_.extensions.get(MEMBER)
        if not isinstance(shape, ObjectOf):
            raise _NotCompilable
        grouped = self._executor.collect_subfields(type_, details).grouped_field_set
        reads, entries = [], []
        for shown, group in grouped.items():
            node = group[0].node
            if node.name.value == "__typename":
                entries.append(f"{shown!r}: {type_.name!r}")
                continue
            try:
                read, value = self._member(type_.fields.get(node.name.value), group, shape)
            except _NotCompilable:
                if remaining is None:
                    raise
                remaining[shown] = group
                entries.append(f"{shown!r}: None")
                continue
            reads.append(read)
            entries.append(f"{shown!r}: {value}")
        if not reads and not remaining:
            raise _NotCompilable
        name = self._named("complete", None)
        cls = self._named("cls", dict if shape.keyed else shape.cls)
        self.lines += [
            f"def {name}(o, b):",
            f"  if type(o) is not {cls}: raise Fallback",
            *(f"  {read}" for read in reads),
            f"  return {{{', '.join(entries)}}}",
        ]
        return name

    def _member(self, found: GraphQLField | None, group: list[FieldDetails], shape: ObjectOf) -> tuple[str, str]:
        member = found.extensions.get(MEMBER) if found is not None else None
        if found is None or not isinstance(member, Member) or len(group) != 1:
            raise _NotCompilable
        value = self._named("v", None)
        if member.read is not None:
            read = f"{value} = {self._named('read', member.read)}(o)"
        else:
            got = f"o[{member.key!r}]" if shape.keyed else _attribute("o", member.key)
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
            return f"{self.object(type_, group)}(b.counted({value}), b)"
        if not is_leaf_type(type_):
            raise _NotCompilable
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


def _attribute(owner: str, name: str) -> str:
    """Return the source code that reads an attribute. Keywords and other names need getattr."""
    plain = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return f"{owner}.{name}" if plain else f"getattr({owner}, {name!r})"


def _items(values: Any) -> Any:
    if type(values) in (list, tuple, set, frozenset, deque):
        return values
    raise _Fallback


def _objects(operation: Operation, values: Any) -> Any:
    if type(values) in (list, tuple):
        operation.count(len(values))
        return values
    raise _Fallback


def _written(write: Callable[[Any], Any], value: Any) -> Any:
    if value is None or isinstance(value, BaseException):
        raise _Fallback
    written = write(value)
    if written is None:
        raise _Fallback
    return written
