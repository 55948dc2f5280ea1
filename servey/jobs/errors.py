"""The errors of jobs as text for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
"""What may not be on a line: forms change line ends, and terminals obey control characters."""


def text_of_error(error: Mapping[str, Any] | None) -> str:
    """Return the error of a job or of a try as one line, or an empty string.

    The body that an app gives its errors may have no ``detail``; then it is shown as it is.
    """
    if error is None:
        return ""
    detail = error["detail"] if "detail" in error else {name: each for name, each in error.items() if name != "code"}
    text = detail if isinstance(detail, str) else json.dumps(detail, default=str)
    return _SPACE.sub(" ", text).strip()
