"""The limits of a GraphQL document: depth, aliases and repeated fields.

`documents` limits the tokens; `operation` limits the calls and the objects of a response while an operation runs.
"""

from __future__ import annotations

from collections.abc import Container

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from servey.core.errors import ActionError
from servey.core.settings import Settings


class LimitExceeded(ActionError):
    """An operation exceeds one of the limits."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, "limit_exceeded", detail)


def check_limits(node: DocumentNode, settings: Settings, types: Container[str]) -> None:
    """Check the depth, the aliases and the repeated fields of a document. Errors: LimitExceeded."""
    fragments = {
        each.name.value: each.selection_set for each in node.definitions if isinstance(each, FragmentDefinitionNode)
    }
    repeated = sum(
        _repeated(each.selection_set, types)
        for each in node.definitions
        if isinstance(each, OperationDefinitionNode | FragmentDefinitionNode)
    )
    if repeated > settings.graphql_max_aliases:
        raise LimitExceeded(f"The document has more than {settings.graphql_max_aliases} aliases and repeated fields")
    depths = _Depths(fragments, settings.graphql_max_depth)
    for each in node.definitions:
        if isinstance(each, OperationDefinitionNode) and depths.of(each.selection_set) > settings.graphql_max_depth:
            raise LimitExceeded(f"The operation is deeper than {settings.graphql_max_depth} levels")


def _repeated(selected: SelectionSetNode, types: Container[str]) -> int:
    """Count the aliases, and the fields and fragment spreads that appear more than once in a selection.

    Validation compares each pair of fields with one response name, and each repetition is work for the same object. Fields
    under different type conditions are for different objects, so `__typename` or `id` for each type of a union is allowed.
    """
    count = 0
    waiting: list[tuple[SelectionSetNode, str, set[tuple[str, str]]]] = [(selected, "", set())]
    while waiting:
        each, condition, names = waiting.pop()
        for node in each.selections:
            if isinstance(node, FragmentSpreadNode):
                name = f"...{node.name.value}"
            elif isinstance(node, FieldNode):
                name = (node.alias or node.name).value
                count += node.alias is not None
                if node.selection_set is not None:
                    waiting.append((node.selection_set, "", set()))
            else:
                assert isinstance(node, InlineFragmentNode)
                inner = node.type_condition.name.value if node.type_condition is not None else condition
                inner = inner if inner in types else ""
                waiting.append((node.selection_set, inner, names))  # its fields belong to the same selection
                continue
            if (condition, name) in names and not (isinstance(node, FieldNode) and node.alias is not None):
                count += 1
            names.add((condition, name))
    return count


class _Depths:
    """Computes the depth of selections, once for each fragment. Introspection fields do not count."""

    def __init__(self, fragments: dict[str, SelectionSetNode], limit: int) -> None:
        self._fragments = fragments
        self._limit = limit
        self._known: dict[str, int] = {}

    def of(self, selected: SelectionSetNode, above: int = 0) -> int:
        deepest = 0
        if above > self._limit:
            return 0
        for node in selected.selections:
            if isinstance(node, FieldNode):
                depth = 1
                if node.selection_set is not None and not node.name.value.startswith("__"):
                    depth += self.of(node.selection_set, above + 1)
            elif isinstance(node, FragmentSpreadNode):
                depth = self._of_fragment(node.name.value)
            else:
                assert isinstance(node, InlineFragmentNode)
                depth = self.of(node.selection_set, above)
            deepest = max(deepest, depth)
        return deepest

    def _of_fragment(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = 0  # validation rejects a fragment that contains itself
            if name in self._fragments:
                self._known[name] = self.of(self._fragments[name])
        return self._known[name]
