"""Helpers for tests of nested fields."""

from servey import (
    Authorization,
)

ADA = Authorization("ada", frozenset({"read"}))
BOB = Authorization("bob", frozenset({"read", "root"}))
CALLS: list[object] = []
