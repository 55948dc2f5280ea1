"""Parses, validates and caches documents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    Source,
    parse,
    specified_rules,
    validate,
)

from servey.compat.graphql import drop_tokens, unlink_tokens
from servey.core.settings import Settings
from servey.graphql.execution.completion import Plans
from servey.graphql.execution.limits import LimitExceeded, check_limits
from servey.graphql.execution.single import SingleField

_MAX_CACHED = 1000
_MAX_CACHED_TOKENS = 50_000
"""A token takes about 400 bytes in a parsed document: at most 20 MB."""

_MAX_ERRORS = 20

_CHARACTERS = 50
"""How many characters a document may have per allowed token; the lexer takes about a microsecond per character."""


class BadDocument(Exception):
    """A document that failed parsing or validation."""

    def __init__(self, errors: Collection[GraphQLError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


@dataclass(frozen=True)
class Document:
    """A valid document with its compiled selections.

    Shape: ``kinds`` are the types of its operations by name, and by None that of the only one; ``requested`` are the names
    of operations that have been executed, ``singles`` those that are compiled, or None if they cannot be.
    """

    node: DocumentNode
    kinds: Mapping[str | None, OperationType]
    plans: Plans = field(default_factory=dict)
    requested: set[str | None] = field(default_factory=set)
    singles: dict[str | None, SingleField | None] = field(default_factory=dict)
    weight: int = 1

    def kind(self, name: str | None) -> OperationType | None:
        """Return the type of the operation with this name, or None if it does not exist or the name is ambiguous."""
        return self.kinds.get(name)


class Documents:
    """Parses and validates the documents of one schema. An LRU cache, bounded by number and tokens, holds the valid ones."""

    def __init__(self, schema: GraphQLSchema, settings: Settings) -> None:
        self._schema = schema
        self._settings = settings
        self._cache: OrderedDict[str, Document] = OrderedDict()
        self._tokens = 0
        self._rules = list(specified_rules)
        if not settings.serves_docs:
            self._rules.append(NoSchemaIntrospectionCustomRule)

    def get(self, text: str) -> Document:
        """Return the document for a text. Errors: LimitExceeded, BadDocument."""
        found = self._cache.get(text)
        if found is not None:
            self._cache.move_to_end(text)
            return found
        made = self._parse(text)
        self._cache[text] = made
        self._tokens += made.weight
        while len(self._cache) > _MAX_CACHED or self._tokens > _MAX_CACHED_TOKENS:
            _, dropped = self._cache.popitem(last=False)
            self._tokens -= dropped.weight
        return made

    def _parse(self, text: str) -> Document:
        node: DocumentNode | None = None
        limit = self._settings.graphql_max_tokens
        if len(text) > limit * _CHARACTERS:
            raise LimitExceeded(
                f"The document has more than {limit * _CHARACTERS} characters; send long values as variables"
            )
        try:
            node = parse(Source(text), max_tokens=limit)
            unlink_tokens(node)
            check_limits(node, self._settings, self._schema.type_map)
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
        drop_tokens(node)
        operations = [each for each in node.definitions if isinstance(each, OperationDefinitionNode)]
        kinds: dict[str | None, OperationType] = {
            each.name.value: each.operation for each in operations if each.name is not None
        }
        if len(operations) == 1:
            kinds[None] = operations[0].operation
        # A long comment has no tokens, but the text is the key.
        return Document(node, kinds, weight=node.token_count + len(text) // 400 + 1)
