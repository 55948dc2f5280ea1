"""Operations with one root field, such as ``query($name: String!) { hello(name: $name) }``, without graphql-core's work for
each request.

When a document comes for the second time, its operation is compiled: which variable is which argument, and how the value
of the field is completed. A request whose variables have another type is executed by graphql-core; so are errors and values
that the compiled function does not accept, but without another call of the action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeAlias

from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    GraphQLBoolean,
    GraphQLError,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLString,
    IntValueNode,
    NullValueNode,
    OperationType,
    StringValueNode,
    VariableNode,
    get_argument_values,
)

from servey.compat.graphql import collect_fields
from servey.graphql.execution.completion import CompilingExecutor, finisher_of, has_directives
from servey.graphql.execution.method_calls import IMMUTABLE, Finish
from servey.graphql.execution.methods import ActionField, sent
from servey.graphql.execution.operation import Operation, Outcome

_LITERALS = (BooleanValueNode, EnumValueNode, FloatValueNode, IntValueNode, NullValueNode, StringValueNode)

IsExact: TypeAlias = Callable[[Any], bool]
"""Whether a variable is passed on as it is."""

_EXACT: tuple[tuple[GraphQLScalarType, IsExact], ...] = (
    (GraphQLString, lambda value: type(value) is str),
    (GraphQLID, lambda value: type(value) is str),
    (GraphQLBoolean, lambda value: type(value) is bool),
    (GraphQLInt, lambda value: type(value) is int and -2147483648 <= value <= 2147483647),
    (GraphQLFloat, lambda value: type(value) is float and isfinite(value)),
)


@dataclass(frozen=True, eq=False)
class SingleField:
    """A compiled operation.

    Shape: ``name`` is the response name of its field; ``variables`` are those that the operation declares; ``arguments`` are
    the names of arguments and of their variables, ``constants`` the other arguments.
    """

    name: str
    field: GraphQLField
    resolver: ActionField
    variables: tuple[tuple[str, IsExact], ...]
    arguments: tuple[tuple[str, str], ...]
    constants: Mapping[str, Any]
    finish: Finish

    def given(self, variables: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of a request, or None if graphql-core has to coerce its variables, or something has replaced
        the resolver."""
        if self.field.resolve is not self.resolver:
            return None
        for name, is_exact in self.variables:
            if name not in variables or not is_exact(variables[name]):
                return None
        return {**self.constants, **{name: variables[variable] for name, variable in self.arguments}}

    async def answer(self, given: dict[str, Any], operation: Operation) -> dict[str, Any] | None:
        """Call the action and return the response. Return None if graphql-core has to complete the outcome, which the
        operation then has."""
        try:
            value = await self.resolver.value(operation, given)
        except Exception as error:
            operation.outcome = Outcome(error=error)
            return None
        before = operation.nodes
        try:
            return {"data": {self.name: self.finish(value, operation)}}
        except Exception:
            operation.nodes = before
            operation.outcome = Outcome(value)
            return None


def single_field(executor: CompilingExecutor) -> SingleField | None:
    """Compile the operation of an executor; return None if graphql-core has to execute it."""
    operation = executor.operation
    selected = operation.selection_set
    if operation.operation is OperationType.SUBSCRIPTION or operation.directives:
        return None
    if has_directives(selected, executor.fragment_definitions, set()):
        return None
    root = executor.schema.get_root_type(operation.operation)
    if root is None:
        return None
    groups = collect_fields(executor.schema, executor.fragments, executor.variable_values, root, operation)[0]
    if len(groups) != 1:
        return None
    ((name, details),) = groups.items()
    node = details[0].node
    field = root.fields.get(node.name.value)
    variables = _variables(executor)
    if len(details) != 1 or field is None or variables is None or not isinstance(field.resolve, ActionField):
        return None
    if details[0].fragment_variable_values is not None:
        return None
    finish = finisher_of(executor, root, details)
    if finish is None:
        return None
    arguments = []
    for each in node.arguments or ():
        definition = field.args[each.name.value]
        if isinstance(each.value, VariableNode):
            arguments.append((definition.out_name or each.name.value, each.value.name.value))
        elif not isinstance(each.value, _LITERALS):
            return None
    try:
        given = sent(get_argument_values(field, node, executor.variable_values))
    except GraphQLError:
        return None
    constants = {key: value for key, value in given.items() if key not in dict(arguments)}
    if not all(isinstance(value, IMMUTABLE) for value in constants.values()):
        return None
    return SingleField(name, field, field.resolve, variables, tuple(arguments), constants, finish)


def _variables(executor: CompilingExecutor) -> tuple[tuple[str, IsExact], ...] | None:
    """Return the variables that the operation declares, or None if one of them is more than a scalar."""
    found = []
    for name, source in executor.variable_values.sources.items():
        type_ = source.signature.type
        inner = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        is_exact = next((each for scalar, each in _EXACT if scalar is inner), None)
        if is_exact is None:
            return None
        found.append((name, is_exact))
    return tuple(found)
