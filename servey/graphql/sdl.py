"""The schema as text."""

from __future__ import annotations

from graphql import lexicographic_sort_schema, print_schema

from servey.graphql.fields import fields_of
from servey.graphql.mount import engine_of
from servey.runtime import Runtime


def sdl_of(runtime: Runtime) -> str:
    """The schema of an app in GraphQL's schema language, always in the same order. Errors: ConfigError."""
    return print_schema(lexicographic_sort_schema(engine_of(runtime, fields_of(runtime)).schema)) + "\n"
