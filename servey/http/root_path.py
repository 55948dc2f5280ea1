"""The path under which a proxy or gateway serves the app."""

from __future__ import annotations

from starlette.types import Scope


def below(root_path: str, scope: Scope) -> Scope:
    """Return the scope of a request below a root path, whether a proxy has stripped it from the path or not.

    Source: ASGI, HTTP connection scope: ``path`` contains ``root_path``.
    """
    path: str = scope["path"]
    made = {**scope, "root_path": root_path}
    if path != root_path and not path.startswith(root_path + "/"):
        made["path"] = root_path + path
        if scope.get("raw_path") is not None:
            made["raw_path"] = root_path.encode() + scope["raw_path"]
    return made
