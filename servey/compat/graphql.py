"""Internal parts of graphql-core: value completion, field collection, subscription sources, defaults of inputs.

Source: graphql/execution/executor.py and graphql/utilities/coerce_input_value.py, 3.3.
"""

from __future__ import annotations

import inspect
from typing import Any

import graphql
from graphql import DocumentNode, GraphQLArgument, GraphQLInputField, GraphQLSchema
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetails, collect_fields
from graphql.execution.execute import create_source_event_stream
from graphql.language import NameNode, Node, Token, TokenKind
from graphql.language.ast import QUERY_DOCUMENT_KEYS
from graphql.pyutils import Path
from graphql.type import GraphQLDefaultInput
from graphql.utilities import ast_from_value
from graphql.utilities.coerce_input_value import coerce_default_value

__all__ = [
    "OMITTED",
    "Executor",
    "FieldDetails",
    "Path",
    "collect_fields",
    "core_schema",
    "create_source_event_stream",
    "drop_tokens",
    "show_default",
    "unlink_tokens",
]

OMITTED: Any = object()
"""What graphql-core fills in for an argument or input field that the client did not send."""

_REQUIRED_PARAMETERS: dict[str, set[str]] = {
    "build": {"schema", "document", "context_value", "raw_variable_values", "operation_name", "is_awaitable"},
    "execute_operation": {"serially"},
    "build_per_event_executor": {"payload"},
    "complete_object_value": {"return_type", "field_details_list", "info", "path", "result", "position_context"},
    "complete_iterable_value": {"item_type", "field_details_list", "info", "path", "items", "position_context"},
    "complete_list_item_value": {"item", "complete_results", "item_type", "field_details_list", "info", "item_path"},
    "execute_field": {"parent_type", "source", "field_details_list", "path", "position_context"},
    "execute_fields": {"parent_type", "source_value", "path", "grouped_field_set", "position_context"},
    "collect_subfields": {"return_type", "field_details_list"},
}  # fmt: skip
for _name, _parameters in _REQUIRED_PARAMETERS.items():
    _method = getattr(Executor, _name, None)
    if _method is None or not _parameters <= set(inspect.signature(_method).parameters):
        raise ImportError(
            f"graphql-core {graphql.__version__} changed Executor.{_name}(); "
            "install a version of graphql-core that this version of servey supports"
        )


def core_schema(schema: object) -> GraphQLSchema:
    """Return the graphql-core schema inside a Strawberry schema."""
    core = getattr(schema, "_schema", None)
    if not isinstance(core, GraphQLSchema):
        raise ImportError(
            "strawberry-graphql changed its Schema; install a version that this version of servey supports"
        )
    return core


def unlink_tokens(document: DocumentNode) -> None:
    """Unlink the tokens of a document from each other, so that they are freed without the cyclic garbage collector."""
    token = document.loc.start_token if document.loc is not None else None
    while token is not None:
        following = token.next
        token.prev = token.next = None
        token = following


def drop_tokens(document: DocumentNode) -> None:
    """Drop the tokens of a valid document and the locations of its names, which are half of the objects that the garbage
    collector visits for it. Errors of an execution have the locations of fields, arguments and variables.
    """
    nodes: list[Node] = [document]
    while nodes:
        node = nodes.pop()
        if isinstance(node, NameNode):
            object.__setattr__(node, "loc", None)
            continue
        if node.loc is not None:
            node.loc.start_token = node.loc.end_token = _NO_TOKEN
        for key in QUERY_DOCUMENT_KEYS.get(node.kind, ()):
            value = getattr(node, key)
            if isinstance(value, Node):
                nodes.append(value)
            elif value:
                nodes += value


_NO_TOKEN = Token(TokenKind.SOF, 0, 0, 0, 0)


def show_default(target: GraphQLArgument | GraphQLInputField, default: Any) -> None:
    """Show a default in the schema, but coerce an omitted value to `OMITTED` instead of the default."""
    literal = ast_from_value(default, target.type)
    target.default = GraphQLDefaultInput(literal=literal)
    target._memoized_coerced_value = OMITTED
    if coerce_default_value(target) is not OMITTED:
        raise ImportError(
            f"graphql-core {graphql.__version__} changed how it coerces defaults; "
            "install a version of graphql-core that this version of servey supports"
        )
