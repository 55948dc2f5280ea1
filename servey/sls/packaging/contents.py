"""Decide which files of a project go into its Lambda package, and why: rules, symbolic links, modules from elsewhere."""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

SECRETS = (
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx", "*.env", ".env*", ".envrc", ".netrc",
    ".pypirc", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "*.tfstate*", "*.tfvars",
)  # fmt: skip
"""File names that a package never contains, wherever they are in the project."""

DATABASES = ("*.db", "*.db3", "*.sqlite", "*.sqlite3", "*.db-wal", "*.db-shm", "*.db-journal", "*.sqlite*-*")
"""Files of SQLite: the data of this machine, which a function could not write to."""


@dataclass(frozen=True)
class Included:
    """A file of the package. Shape: ``name`` is its path in the zip."""

    source: Path
    name: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that the package does not contain; the name of a folder ends with ``/``."""

    name: str
    reason: str


Entry: TypeAlias = Included | LeftOut


def project_files(folder: Path, loaded: Collection[Path], output: Path) -> list[Entry]:
    """Return what goes into the package of the project in ``folder``, and what is left out.

    ``loaded`` are the files that the app imports when it starts: no rule leaves out a folder with one of them. ``output``
    is the zip itself.
    """
    folder = folder.resolve()
    inside = [path for path in map(Path.resolve, loaded) if path.is_relative_to(folder)]
    kept = {parent for path in inside for parent in (path, *path.parents)} - {folder, *folder.parents}
    return list(_walk(folder, PurePosixPath(), (folder,), kept, output.resolve(), folder))


def _walk(
    place: Path, name: PurePosixPath, outer: tuple[Path, ...], kept: Collection[Path], output: Path, top: Path
) -> Iterator[Entry]:
    for path in sorted(place.iterdir()):
        inner, real = name / path.name, path.resolve()
        reason = "file of the project"
        if path.is_symlink():
            reason = f"link to {os.path.relpath(real, top)}"
            if not real.exists():
                yield LeftOut(str(inner), "it links to nothing")
                continue
        if real.is_dir():
            why = _why_no_folder(path, inner, kept)
            if why is None and path.is_symlink() and any(each.is_relative_to(real) for each in outer):
                why = "it links to a folder that contains it"
            if why is None:
                yield from _walk(path, inner, (*outer, real), kept, output, top)
            else:
                yield LeftOut(f"{inner}/", why)
            continue
        why = _why_no_file(path, inner, kept, output)
        yield Included(real, str(inner), reason) if why is None else LeftOut(str(inner), why)


def _why_no_folder(path: Path, name: PurePosixPath, kept: Collection[Path]) -> str | None:
    if path.name.startswith("."):
        return "it is hidden"
    if (path / "pyvenv.cfg").is_file():
        return "it is a virtual environment"
    if path.name in ("__pycache__", "node_modules") or path.name.endswith(".egg-info"):
        return "a tool generated it"
    if path.resolve() in kept or len(name.parts) > 1:
        return None
    if path.name == "serverless_servey":
        return "`servey sls` generated it"
    if path.name in ("tests", "test"):
        return "it contains tests"
    if path.name == "build" and ((path / "lib").is_dir() or any(path.glob("bdist.*"))):
        return "a build tool generated it"
    if path.name == "dist" and all(each.name.endswith((".whl", ".tar.gz", ".zip")) for each in path.iterdir()):
        return "a build tool generated it"
    return None


def _why_no_file(path: Path, name: PurePosixPath, kept: Collection[Path], output: Path) -> str | None:
    real = path.resolve()
    if is_secret(path.name) or is_secret(real.name):
        return "it may contain a secret"
    if any(fnmatch.fnmatchcase(path.name.lower(), pattern) for pattern in DATABASES):
        return "it is a database of this machine"
    if path.name.startswith("."):
        return "it is hidden"
    if real == output:
        return "it is the package"
    if path.suffix in (".pyc", ".pyo"):
        return "the package has compiled modules of its own"
    if not stat.S_ISREG(real.stat().st_mode):
        return "it is not a regular file"
    if not os.access(real, os.R_OK):
        return "it is not readable"
    is_test = fnmatch.fnmatchcase(path.name, "test_*.py") or path.name == "conftest.py"
    return "it contains tests" if is_test and len(name.parts) == 1 and real not in kept else None


def is_secret(name: str) -> bool:
    """Whether a file with this name may contain a secret."""
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in SECRETS)


# ------------------------------------------------------------------------------------------- modules from elsewhere


@dataclass(frozen=True)
class OutsideModule:
    """A module or package that is imported from a folder that is neither the project's own nor of installed packages.

    Shape: ``origin`` is the folder, or file, of the module; ``root`` is the folder on the import path.
    """

    name: str
    origin: Path
    root: Path


def outside_modules(folder: Path, files: Iterable[Path], names: Iterable[str]) -> list[OutsideModule]:
    """Return the modules from elsewhere that these files and names import: PYTHONPATH, `src`, editable installs.

    ``names`` are top-level names in addition to those in the files. Imports of the found modules count too.
    """
    folder = folder.resolve()
    waiting = [*names, *(name for file in files for name in _top_names(file))]
    found: list[OutsideModule] = []
    seen = {"servey", "__main__", "sitecustomize", "usercustomize", *sys.stdlib_module_names, *sys.builtin_module_names}
    standard = Path(sysconfig.get_paths()["stdlib"]).resolve()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for origin in _origins(name):
            root = origin.parent
            is_installed = root.is_relative_to(standard) or {"site-packages", "dist-packages"} & set(origin.parts)
            if root != folder and not is_installed:
                found.append(OutsideModule(name, origin, root))
                inner = [origin] if origin.is_file() else sorted(origin.rglob("*.py"))
                waiting += [each for file in inner for each in _top_names(file)]
    return sorted(found, key=lambda module: (module.name, module.origin))


def module_files(module: OutsideModule, top: Path) -> Iterator[Entry]:
    """Return the files of a module from elsewhere; they are at the root of the package."""
    reason = f"module '{module.name}' is imported from {os.path.relpath(module.root, top)}"
    if module.origin.is_file():
        yield Included(module.origin, module.origin.name, reason)
        return
    for entry in _walk(
        module.origin, PurePosixPath(module.name), (module.origin,), {module.origin}, Path(os.devnull), top
    ):
        yield Included(entry.source, entry.name, reason) if isinstance(entry, Included) else entry


def _origins(name: str) -> list[Path]:
    """Return the file or the folders of a top-level module, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(each).resolve() for each in spec.submodule_search_locations if Path(each).is_dir()]
    return [Path(spec.origin).resolve()] if spec.origin and Path(spec.origin).is_file() else []


def _top_names(file: Path) -> set[str]:
    return {name.partition(".")[0] for name, _, _ in imports_of(file)}


def imports_of(file: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield each absolute import of a module: name, line, whether it may fail or is for type checkers only."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, optional = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((each.name, node.lineno, optional) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno, optional
        may_fail = optional or (isinstance(node, ast.Try) and bool(node.handlers)) or _is_never_true(node)
        waiting += [(child, may_fail) for child in ast.iter_child_nodes(node)]


def _is_never_true(node: ast.AST) -> bool:
    """Whether a block does not run in the function: `if TYPE_CHECKING`, `if __name__ == "__main__"`, another platform."""
    return isinstance(node, ast.If) and any(
        name in ast.unparse(node.test) for name in ("TYPE_CHECKING", "__name__", "sys.platform", "sys.version_info")
    )


# ---------------------------------------------------------------------------------------------------------- copying


def copy_files(entries: Iterable[Entry], root: Path) -> None:
    """Copy the included files to ``root``. Only whether a file is executable is kept of its mode."""
    for entry in entries:
        if isinstance(entry, Included):
            target = root / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.source, target)
            target.chmod(0o755 if entry.source.stat().st_mode & stat.S_IXUSR else 0o644)


def without_modules(entries: Iterable[Entry], modules: Iterable[OutsideModule], top: Path) -> list[Entry]:
    """Return the entries of the project without the modules that are imported from one of its folders, such as `src`.

    They are at the root of the package instead.
    """
    origins = [module.origin for module in modules if module.origin.is_relative_to(top.resolve())]
    return [
        entry
        for entry in entries
        if isinstance(entry, LeftOut) or not any(entry.source.is_relative_to(origin) for origin in origins)
    ]


def why_left_out(entries: Iterable[Entry], file: Path, top: Path) -> str | None:
    """Return the reason why a file of the project is not in the package, or None."""
    name = os.path.relpath(file, top)
    for entry in entries:
        if isinstance(entry, LeftOut) and (name == entry.name or name.startswith(entry.name.rstrip("/") + "/")):
            return f"{entry.name} is left out: {entry.reason}"
    return None


def summary(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield one line for each rule that left something out, with what it left out."""
    by_reason: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, LeftOut):
            by_reason.setdefault(entry.reason, []).append(entry.name)
    for reason, left in sorted(by_reason.items()):
        shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        yield f"left out, because {reason}: {shown}"
