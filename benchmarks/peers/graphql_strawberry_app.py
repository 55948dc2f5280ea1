"""Strawberry on FastAPI, with its defaults."""

from benchmarks.peers.graphql_strawberry import build

app = build([])
