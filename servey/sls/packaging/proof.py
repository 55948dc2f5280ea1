"""Prove that a Lambda package starts: unpack it elsewhere and start it in an interpreter that sees nothing else.

What the Lambda runtime has beside the package is visible too: the standard library, boto3 and what boto3 requires.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from servey.core.errors import ConfigError
from servey.sls.packaging import isolated
from servey.sls.packaging.contents import imports_of

IN_THE_RUNTIME = ("boto3", "botocore", "s3transfer")
"""Packages that the Lambda runtime includes."""
_VISIBLE = (*IN_THE_RUNTIME, "jmespath", "dateutil", "six", "urllib3")
_SECONDS = 120.0
"""How long a start may take here. Lambda allows 10 s, on another machine."""
_MOST_ALLOWED = 20
_AS_IF_DEPLOYED = {
    "SERVEY_ENV": "prod",
    "SERVEY_KMS_KEY_ID": "arn:aws:kms:us-east-1:123456789012:key/none",
    "SERVEY_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/none",
    "SERVEY_CONNECTION_TABLE": "none",
    "SERVEY_WEBSOCKET_ENDPOINT": "https://none.execute-api.us-east-1.amazonaws.com/none",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_NOT_DEPLOYED = {f"{prefix}JWT_SECRET_KEY{suffix}" for prefix in ("", "SERVEY_") for suffix in ("", "_FILE")}
_COMPILED_AS = "/var/task/"


@dataclass(frozen=True)
class Proof:
    """What the start of a package showed.

    Shape: ``problems`` are the reasons why it does not start, one line each; ``warnings`` are imports inside functions that
    will fail when they run.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def start_here(handler: str) -> dict[str, Any]:
    """Start the project in the working directory with everything that is installed here, as `isolated.start` says."""
    task = {"root": os.getcwd(), "handler": handler, "allowed": [], "path": []}
    return _run([sys.executable, "-P"], task)


def prove(
    archive: Path,
    handler: str,
    own: Collection[str],
    overlay: Callable[[Path], None],
    why: Callable[[str], str],
    layers: Sequence[Path] = (),
) -> Proof:
    """Start the package and return what is wrong with it.

    ``own`` are the names in the package of the project's files. ``overlay`` replaces in the unpacked package what is
    compiled for another processor; ``why`` says why a module is not in the package, and what to do. ``layers`` are the
    folders of layers that Python imports from.
    """
    with TemporaryDirectory() as scratch:
        root = Path(scratch, "task")
        with zipfile.ZipFile(archive) as file:
            file.extractall(root)
        overlay(root)
        return prove_folder(root, handler, own, why, layers)


def prove_folder(
    root: Path, handler: str, own: Collection[str], why: Callable[[str], str], layers: Sequence[Path] = ()
) -> Proof:
    """Start the unpacked package in ``root``, as `prove` does."""
    allowed: list[str] = list(_VISIBLE)
    problems: list[str] = []
    while True:
        task = {"root": str(root), "handler": handler, "allowed": allowed, "path": sys.path}
        task["layers"] = list(map(str, layers))
        # Without the site module there are no installed packages, and -I ignores the environment of Python.
        started = _run([sys.executable, "-I", "-S", "-B"], task)
        if started["error"] is None:
            break
        # A part of a package cannot come from elsewhere, so its absence ends the search.
        found = {name: place for name, place in started["missing"].items() if name not in allowed}
        for name, (file, line) in found.items():
            # What is missing may itself import what is missing; naming the first is enough.
            if not file or file.startswith((str(root), _COMPILED_AS)):
                place = f"{_shown(file, root)}:{line}" if file else "the app"
                problems.append(f"{place} imports '{name}', which is not in the package: {why(name)}")
        allowed += found
        if not found or any("." in name for name in found) or len(allowed) > _MOST_ALLOWED:
            break
    if started["error"] is not None and not problems:
        return Proof((f"the package does not start: {_shown(started['error'], root)}",))
    if problems:
        return Proof(tuple(problems))
    return Proof((), tuple(dict.fromkeys(_late_imports(started["modules"], root, own, why, layers))))


def _late_imports(
    modules: Mapping[str, str], root: Path, own: Collection[str], why: Callable[[str], str], layers: Sequence[Path]
) -> Iterator[str]:
    """Yield the imports inside functions of the project's loaded modules that the package cannot satisfy."""
    known = {*sys.stdlib_module_names, *sys.builtin_module_names, *_VISIBLE, *modules}
    known |= {path.name.partition(".")[0] for folder in (root, *layers) for path in folder.iterdir()}
    for file in sorted(path for path in map(Path, modules.values()) if path.is_relative_to(root)):
        name = file.relative_to(root).as_posix()
        if name in own:
            for module, line, optional in imports_of(file):
                top = module.partition(".")[0]
                if top not in known and not optional:
                    yield f"{name}:{line} imports '{top}' later, which is not in the package: {why(top)}"


def _shown(text: str, root: Path) -> str:
    return text.replace(f"{root}/", "").replace(_COMPILED_AS, "")


def _run(python: Sequence[str], task: Mapping[str, Any]) -> dict[str, Any]:
    """Run `isolated.py` in a new process and return its result."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_DEPLOYED} | _AS_IF_DEPLOYED
    with TemporaryDirectory() as scratch:
        result = Path(scratch, "result.json")
        # A copy, so that nothing beside this file can be imported from its folder.
        script = shutil.copyfile(isolated.__file__, Path(scratch, "start.py"))
        command = [*python, str(script), str(result), json.dumps(task)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(f"the function does not start within {_SECONDS:g} s") from None
        if not result.is_file():
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigError(f"the function ends its process when it starts (exit code {done.returncode}): {said}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found
