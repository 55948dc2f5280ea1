"""What REST asks of a request before it is read: its path, its media type."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from servey.errors import UnsupportedMediaType
from servey.routers.query import checked_text
from servey.web import JSON

FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def check_path(scope: Scope) -> None:
    """Refuses a path that is not UTF-8 or holds a NUL character. Errors: InvalidParams."""
    path = scope["path"]
    if "\0" in path or "\ufffd" in path:
        checked_text(unquote_to_bytes(scope.get("raw_path") or path), "path")


def check_json_type(content_type: str | None) -> None:
    """Refuses a body that is not said to be JSON. Errors: UnsupportedMediaType.

    Source: RFC 9110 section 8.3.1, RFC 6839 section 3.1 (``+json``).
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    kind, _, subtype = media_type.partition("/")
    if kind != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise UnsupportedMediaType(content_type or "", JSON)
