"""The errors of jobs as text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def text_of_error(error: Mapping[str, Any] | None) -> str:
    """Return the error of a job or of a try as one line, or an empty string.

    The body that an app gives its errors may have no ``detail``; then it is shown as it is.
    """
    if error is None:
        return ""
    detail = error["detail"] if "detail" in error else {name: each for name, each in error.items() if name != "code"}
    return detail if isinstance(detail, str) else json.dumps(detail, default=str)
