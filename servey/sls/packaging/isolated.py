"""Start a Lambda handler, send it one request, and write what happened. `proof.py` runs this file in its own process.

It imports the standard library only: with ``-I -S`` nothing else can be imported than the package in ``root``.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

REQUEST: dict[str, Any] = {
    "version": "2.0",
    "rawPath": "/health/live",
    "rawQueryString": "",
    "headers": {"host": "localhost"},
    "requestContext": {
        "http": {"method": "GET", "path": "/health/live", "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"},
        "stage": "$default",
    },
    "isBase64Encoded": False,
}


class _Elsewhere:
    """The last finder: it finds the allowed modules elsewhere, and notes who imports each module that is nowhere."""

    def __init__(self, allowed: Sequence[str], path: Sequence[str]) -> None:
        self._allowed, self._path = frozenset(allowed), list(path)
        self.importers: dict[str, tuple[str, int]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is None and name in self._allowed:
            return PathFinder.find_spec(name, self._path)
        frame = sys._getframe(1)
        while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        self.importers.setdefault(name, (frame.f_code.co_filename, frame.f_lineno))
        return None


def start(
    root: str, handler: str, allowed: Sequence[str], path: Sequence[str], layers: Sequence[str] = ()
) -> dict[str, Any]:
    """Start the handler of the package in ``root``, with layers. Modules that are allowed are found in ``path`` too.

    Shape: ``modules`` are the loaded modules with their files; ``error`` is None, or the error's text; ``missing`` are the
    modules that were not found, with the file and line that import each; ``methods`` are the sources that the standard
    library has written for the methods of dataclasses.
    """
    methods = note_methods()
    os.chdir(root)
    sys.path[:0] = [root, *layers]
    elsewhere = _Elsewhere(allowed, path)
    sys.meta_path.append(elsewhere)
    error: str | None = None
    chain: list[BaseException] = []
    try:
        module, _, attribute = handler.rpartition(".")
        function = getattr(importlib.import_module(module), attribute)
        answer = function(REQUEST, None)
        if isinstance(answer, dict) and int(answer.get("statusCode", 200)) >= 500:
            error = f"it answers {answer['statusCode']} to a request: {str(answer.get('body'))[:300]}"
    except BaseException as raised:
        chain = _chain(raised)
        error = f"{type(raised).__name__}: {raised}"
    modules = {name: str(getattr(each, "__file__", None) or "") for name, each in list(sys.modules.items())}
    missing = {name: elsewhere.importers.get(name, ("", 0)) for name in _missing(chain)}
    return {"modules": modules, "error": error, "missing": missing, "methods": sorted(methods)}


def note_methods() -> set[str]:
    """Return the sources of the methods of each dataclass that is defined from now on."""
    found: set[str] = set()

    def run(source: str, *namespaces: Any) -> None:
        found.add(source)
        exec(source, *namespaces)

    dataclasses.__dict__["exec"] = run  # before the built-in function of that name
    return found


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _missing(chain: Sequence[BaseException]) -> list[str]:
    """Return the modules that these errors name; a list of problems may name several."""
    names = [each.name for each in chain if isinstance(each, ModuleNotFoundError) and each.name]
    names += [name for each in chain for name in re.findall(r"No module named '([\w.]+)'", str(each))]
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    _result, _task = sys.argv[1:]
    Path(_result).write_text(json.dumps(start(**json.loads(_task))), encoding="utf-8")
    # Threads of the app must not keep the process alive.
    os._exit(0)
