"""Strawberry on FastAPI, with its caches on."""

from strawberry.extensions import ParserCache, ValidationCache

from benchmarks.peers.graphql_strawberry import build

PARSED, VALIDATED = ParserCache(), ValidationCache()
app = build([lambda: PARSED, lambda: VALIDATED])
