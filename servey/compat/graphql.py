"""The parts of graphql-core's executor that are not called stable: how a value is completed.

Source: graphql/execution/executor.py, 3.3.
"""

from __future__ import annotations

import inspect

import graphql
from graphql import GraphQLSchema
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetails
from graphql.execution.execute import create_source_event_stream

__all__ = ["Executor", "FieldDetails", "create_source_event_stream", "schema_of"]

_NEEDED: dict[str, set[str]] = {
    "build": {"schema", "document", "context_value", "raw_variable_values", "operation_name", "is_awaitable"},
    "execute_operation": {"serially"},
    "build_per_event_executor": {"payload"},
    "complete_object_value": {"return_type", "field_details_list", "info", "path", "result", "position_context"},
    "complete_iterable_value": {"item_type", "field_details_list", "info", "path", "items", "position_context"},
    "collect_subfields": {"return_type", "field_details_list"},
}  # fmt: skip
for _name, _parameters in _NEEDED.items():
    _method = getattr(Executor, _name, None)
    if _method is None or not _parameters <= set(inspect.signature(_method).parameters):
        raise ImportError(
            f"graphql-core {graphql.__version__} changed Executor.{_name}(); "
            "install a version of graphql-core that this version of servey supports"
        )


def schema_of(schema: object) -> GraphQLSchema:
    """The schema in graphql-core's terms that Strawberry has made."""
    core = getattr(schema, "_schema", None)
    if not isinstance(core, GraphQLSchema):
        raise ImportError(
            "strawberry-graphql changed its Schema; install a version that this version of servey supports"
        )
    return core
