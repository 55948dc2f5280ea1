"""Helpers for tests of HTTP caching."""

from dataclasses import dataclass
from datetime import UTC, datetime

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
UPDATED = datetime(2026, 5, 1, 8, 30, 15, tzinfo=UTC)
SAME = "Fri, 01 May 2026 08:30:15 GMT"


@dataclass
class Article:
    title: str
    updated_at: datetime | None
