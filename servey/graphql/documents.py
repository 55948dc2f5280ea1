"""Documents: parsed, held to the limits, validated, and kept for the next time they come."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Source,
    parse,
    specified_rules,
    validate,
)

from servey.graphql.completion import Plans
from servey.graphql.operation import LimitExceeded
from servey.settings import Settings

_MAX_KEPT = 1000
_MAX_KEPT_CHARACTERS = 4 << 20
_MAX_ERRORS = 20


class BadDocument(Exception):
    """A document that can not be run, with what is wrong with it."""

    def __init__(self, errors: Collection[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


@dataclass(frozen=True)
class Document:
    """A document that may be run, and what was compiled of it."""

    node: DocumentNode
    operations: dict[str | None, OperationDefinitionNode]
    plans: Plans = field(default_factory=dict)

    def kind(self, name: str | None) -> OperationType | None:
        """What kind of operation goes by that name; None where there is none, or more than one without a name."""
        found = self.operations.get(name)
        if name is None and len(self.operations) == 1:
            found = next(iter(self.operations.values()))
        return None if found is None or (name is None and len(self.operations) > 1) else found.operation


class Documents:
    """The documents of one schema. Only valid ones are kept, the last used ones, within a bound of their number and size."""

    def __init__(self, schema: GraphQLSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0
        self._rules = list(specified_rules)
        if not settings.serves_docs:
            self._rules.append(NoSchemaIntrospectionCustomRule)

    def get(self, text: str) -> Document:
        """The document of a text. Errors: LimitExceeded; BadDocument."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
            return found
        made = self._made(text)
        self._kept[text] = made
        self._characters += len(text)
        while len(self._kept) > _MAX_KEPT or self._characters > _MAX_KEPT_CHARACTERS:
            dropped, _ = self._kept.popitem(last=False)
            self._characters -= len(dropped)
        return made

    def _made(self, text: str) -> Document:
        node: DocumentNode | None = None
        limit = self._settings.graphql_max_tokens
        try:
            node = parse(Source(text), max_tokens=limit)
            check_limits(node, self._settings)
            errors = validate(
                self._schema,
                node,
                self._rules,
                max_errors=_MAX_ERRORS,
                hide_suggestions=not self._settings.serves_docs,
            )
        except RecursionError:
            errors = []
            node = None
        except GraphQLError as error:
            if "tokens" in error.message and str(limit) in error.message:
                raise LimitExceeded(f"The document has more than {limit} tokens") from None
            if "too deeply" in error.message:
                raise LimitExceeded("The document is nested too deeply") from None
            raise BadDocument([error]) from None
        if node is None:
            raise LimitExceeded("The document is nested too deeply")
        if errors:
            raise BadDocument(errors)
        operations = {
            each.name.value if each.name else None: each
            for each in node.definitions
            if isinstance(each, OperationDefinitionNode)
        }
        return Document(node, operations)


def check_limits(node: DocumentNode, settings: Settings) -> None:
    """Errors: LimitExceeded for a document that is too deep, or that asks for one thing too often."""
    fragments = {
        each.name.value: each.selection_set for each in node.definitions if isinstance(each, FragmentDefinitionNode)
    }
    repeated = sum(
        _repeated(each.selection_set)
        for each in node.definitions
        if isinstance(each, OperationDefinitionNode | FragmentDefinitionNode)
    )
    if repeated > settings.graphql_max_aliases:
        raise LimitExceeded(f"The document has more than {settings.graphql_max_aliases} aliases and repeated fields")
    depths = _Depths(fragments, settings.graphql_max_depth)
    for each in node.definitions:
        if isinstance(each, OperationDefinitionNode) and depths.of(each.selection_set) > settings.graphql_max_depth:
            raise LimitExceeded(f"The operation is deeper than {settings.graphql_max_depth} levels")


def _repeated(selected: SelectionSetNode) -> int:
    """How many aliases there are, and fields and fragments that stand in one selection more than once.

    Each pair of fields of one name has to be compared by the validation, so that many of them are work without end.
    """
    count = 0
    waiting = [(selected, set[str]())]
    while waiting:
        each, names = waiting.pop()
        for node in each.selections:
            if isinstance(node, FragmentSpreadNode):
                name = f"...{node.name.value}"
            elif isinstance(node, FieldNode):
                name = (node.alias or node.name).value
                count += node.alias is not None
                if node.selection_set is not None:
                    waiting.append((node.selection_set, set()))
            else:
                assert isinstance(node, InlineFragmentNode)
                waiting.append((node.selection_set, names))  # its fields stand in the same selection
                continue
            if name in names and not (isinstance(node, FieldNode) and node.alias is not None):
                count += 1
            names.add(name)
    return count


class _Depths:
    """How deep selections are; every fragment is looked at once. What asks for the schema itself does not count."""

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
            self._known[name] = 0  # one that holds itself is the validation's to refuse
            if name in self._fragments:
                self._known[name] = self.of(self._fragments[name])
        return self._known[name]
