"""Prints the schema."""

from __future__ import annotations

from graphql import lexicographic_sort_schema, print_schema

from servey.graphql.mount import engine_of
from servey.graphql.schema.fields import fields_of
from servey.runtime.runtime import Runtime


def sdl_of(runtime: Runtime) -> str:
    """Return the schema of an app in the schema definition language, sorted. Errors: ConfigError."""
    return print_schema(lexicographic_sort_schema(engine_of(runtime, fields_of(runtime)).schema)) + "\n"
