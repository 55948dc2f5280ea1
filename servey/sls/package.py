"""Build the zip of a project's Lambda function: reproducible, precompiled, for arm64 or x86_64, without Docker.

Source: Lambda developer guide, "Working with .zip file archives for Python Lambda functions" and "Lambda runtimes".
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import servey
from servey.compat.generated_methods import FILE
from servey.core.errors import ConfigError
from servey.sls.model import WRAPPER
from servey.sls.packaging.contents import (
    Entry,
    Included,
    OutsideModule,
    copy_files,
    module_files,
    outside_modules,
    project_files,
    why_left_out,
    without_modules,
)
from servey.sls.packaging.installing import Plan, copy_installed, install, local_distributions, plan_of
from servey.sls.packaging.layers import leave_out_provided, read_layers
from servey.sls.packaging.proof import IN_THE_RUNTIME, prove, start_here
from servey.sls.packaging.requirements import Requirement, Requirements, name_of, normalized, read_requirements
from servey.sls.serverless import FOLDER as WRITTEN

Architecture: TypeAlias = Literal["arm64", "x86_64"]

LARGEST_BYTES = 250 * 1024 * 1024
"""Source: Lambda quotas, deployment package, unzipped."""
_MOMENT = (1980, 1, 1, 0, 0, 0)
_NOT_NEEDED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
_MACHINES = {"arm64": {"aarch64", "arm64"}, "x86_64": {"x86_64", "AMD64"}}


@dataclass(frozen=True)
class Wanted:
    """What to package: for which processor, the function's handler, and what of the project's requirements.

    Shape: ``needed`` are optional requirements of Servey that the app uses but imports on first use; with ``check`` the
    package is started before it is written; with ``streams`` it has the script that starts the streaming runtime;
    ``layers`` are zip files or folders with the content of the function's layers.
    """

    architecture: Architecture
    handler: str
    needed: Collection[str] = ()
    groups: Collection[str] = ()
    extras: Collection[str] = ()
    streams: bool = False
    check: bool = True
    layers: Collection[Path] = ()


@dataclass(frozen=True)
class Package:
    """What was packaged. Units: sizes in bytes. Shape: ``entries`` are all files with their reasons."""

    zipped: int
    unzipped: int
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]


def build_package(target: Path, wanted: Wanted, progress: Callable[[str], None]) -> Package:
    """Write the zip of the project in the working directory. Versions are the installed ones.

    Errors: ConfigError if a requirement cannot be installed, if the package is too large for Lambda, or if it does not
    start; then nothing is written.
    """
    top = Path.cwd()
    progress("starting the project")
    started = start_here(wanted.handler)
    if wanted.check and started["error"] is not None:
        # Our own errors say what to do.
        is_ours = started["error"].startswith("ConfigError: ")
        hint = "" if is_ours else "; --no-check is for a start that needs what only AWS can reach"
        raise ConfigError(f"the function does not start: {started['error']}{hint}")
    loaded: Mapping[str, str] = started["modules"]
    with TemporaryDirectory() as scratch:
        root = Path(scratch, "task")
        root.mkdir()
        layers = read_layers(wanted.layers, Path(scratch))
        entries, modules = project_entries(top, loaded, wanted.handler, target, layers.modules)
        declared = read_requirements(top, wanted.groups, wanted.extras)
        needed = {"mangum", *wanted.needed, *_distributions_of(loaded)}
        known = [*_servey_needs(needed), *_of_outside(modules)]
        plan = plan_of(declared, known, {*IN_THE_RUNTIME, *layers.names, "servey"})
        progress(f"installing requirements for {wanted.architecture}")
        install(plan, root, Path(scratch), _platforms(wanted.architecture), wanted.architecture)
        for distribution in plan.copied:
            copy_installed(distribution, root)
        entries = [*_installed_entries(root, plan), *entries]
        progress("copying the project")
        leave_out_provided(layers, root)
        _leave_out(root)
        own = [entry for entry in entries if isinstance(entry, Included) and entry.source.is_relative_to(root) is False]
        _make_room(root, own)
        copy_files(own, root)
        _copy_servey(root)
        if wanted.streams:
            _write_wrapper(root / WRAPPER)
        progress("compiling")
        _compile(root)
        compile_methods(root / FILE, started["methods"])
        sizes = _sizes(root)
        if sum(sizes.values()) + layers.size > LARGEST_BYTES:
            largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
            shown = ", ".join(f"{name} {sizes[name] // 2**20} MB" for name in largest)
            more = f", its layers have {layers.size // 2**20} MB" if layers.size else ""
            raise ConfigError(
                f"the package has {sum(sizes.values()) // 2**20} MB{more}; Lambda's limit is {LARGEST_BYTES // 2**20} MB; "
                f"the largest parts are {shown}"
            )
        archive = Path(scratch, "lambda.zip")
        progress("compressing")
        _zip(root, archive)
        warnings: tuple[str, ...] = ()
        if wanted.check:
            progress("starting the package elsewhere")
            names = {entry.name for entry in own}
            is_foreign = not _runs_here(wanted.architecture)
            for folder in layers.folders if is_foreign else ():
                _overlay(folder)
            proof = prove(
                archive,
                wanted.handler,
                names,
                lambda place: _overlay(place) if is_foreign else None,
                lambda module: why_missing(module, top, entries, declared),
                layers.folders,
            )
            if proof.problems:
                raise ConfigError(list(proof.problems))
            warnings = proof.warnings
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(archive, target)
        kept = [entry for entry in entries if not isinstance(entry, Included) or (root / entry.name).is_file()]
        return Package(target.stat().st_size, sum(sizes.values()), tuple(kept), warnings)


def deployed_as(place: str, architecture: Architecture | None) -> Architecture:
    """Return the processor architecture of the package: the argument, or the one in `serverless.yml`, or arm64.

    Errors: ConfigError if `serverless.yml` names another architecture or another Python version.
    """
    text = Path(place).read_text(encoding="utf-8") if Path(place).exists() else ""
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    runtime = re.search(r"^\s+runtime:\s*['\"]?(python[\d.]+)", text, re.MULTILINE)
    if runtime is not None and runtime[1] != here:
        raise ConfigError(
            f"the runtime in {place} is {runtime[1]}, but this is {here}, so the package would not match; "
            f"run {runtime[1]} -m servey package, or change the file"
        )
    found = re.search(r"^\s+architecture:\s*['\"]?(arm64|x86_64)", text, re.MULTILINE)
    if architecture is not None and found is not None and found[1] != architecture:
        raise ConfigError(f"the architecture in {place} is {found[1]}, not {architecture}; change one of them")
    return architecture or ("x86_64" if found is not None and found[1] == "x86_64" else "arm64")


def is_deployed_with_stream() -> bool:
    """Return whether the stack that `servey sls` wrote here has a function that needs the streaming script."""
    functions = Path(WRITTEN, "functions.yml")
    return functions.exists() and f"/{WRAPPER}" in functions.read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------------- what goes in


def project_entries(
    top: Path, loaded: Mapping[str, str], handler: str, target: Path, provided: Collection[str] = ()
) -> tuple[list[Entry], list[OutsideModule]]:
    """Return the files of the project in ``top``, those of the modules that it imports from elsewhere, and these modules.

    ``provided`` are modules that a layer has.
    """
    entries = project_files(top, [Path(file) for file in loaded.values() if file], target)
    sources = [entry.source for entry in entries if isinstance(entry, Included) and entry.source.suffix == ".py"]
    tops = {name.partition(".")[0] for name in (*loaded, handler)}
    modules = [each for each in outside_modules(top, sources, tops) if each.name not in provided]
    entries = without_modules(entries, modules, top)
    return [*entries, *(entry for module in modules for entry in module_files(module, top))], modules


def _of_outside(modules: Collection[OutsideModule]) -> Iterator[Requirement]:
    """Yield the distributions that modules from elsewhere belong to: editable installs."""
    for name, (_, folder) in local_distributions().items():
        if any(module.origin.is_relative_to(folder.resolve()) for module in modules):
            yield Requirement(name, str(folder))


def _platforms(architecture: Architecture) -> list[str]:
    """Return the wheel platforms that the runtime supports: Amazon Linux 2 up to Python 3.11, then Amazon Linux 2023."""
    machine = "aarch64" if architecture == "arm64" else "x86_64"
    newest = 26 if sys.version_info < (3, 12) else 34
    return [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)] + [f"manylinux2014_{machine}"]


def _servey_needs(needed: set[str]) -> Iterator[Requirement]:
    """Yield Servey's requirements, and those of its optional requirements that the app uses."""
    for line in importlib.metadata.requires("servey") or ():
        requirement, _, marker = line.partition(";")
        if "extra ==" not in marker or name_of(requirement) in needed:
            yield Requirement(requirement.strip(), "servey")


def _distributions_of(loaded: Mapping[str, str]) -> set[str]:
    """Return the names of the distributions that these modules belong to."""
    of_module = importlib.metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in loaded}
    return {normalized(each) for module in tops for each in of_module.get(module, ())}


def _installed_entries(root: Path, plan: Plan) -> Iterator[Entry]:
    """Yield what was installed into ``root``, with the distribution of each file and who requires it."""
    found = {normalized(each.name): each for each in importlib.metadata.distributions(path=[str(root)])}
    origins: dict[str, str] = {}
    for name, distribution in sorted(found.items()):
        for line in distribution.requires or ():
            origins.setdefault(name_of(line), name)
    for requirement in reversed(plan.requirements):
        origins[requirement.name] = requirement.origin
    for name, distribution in found.items():
        reason = f"{distribution.name} {distribution.version}"
        reason += f", required by {origins[name]}" if name in origins else ""
        for file in distribution.files or ():
            yield Included(root / file, str(file), reason)


def _copy_servey(root: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "new_project", "new_database", "guide")
    shutil.copytree(Path(servey.__file__).parent, root / "servey", ignore=ignored, dirs_exist_ok=True)


def _write_wrapper(place: Path) -> None:
    # Lambda calls it with the path of Python and the arguments of its own runtime.
    place.write_bytes(b'#!/bin/sh\ncd "$LAMBDA_TASK_ROOT" && exec "$1" -m servey.aws.streaming\n')
    place.chmod(0o755)


def _leave_out(root: Path) -> None:
    """Remove what was installed but is not needed: programs, records, what the runtime has."""
    shutil.rmtree(root / "bin", ignore_errors=True)
    for name in IN_THE_RUNTIME:
        for path in [root / name, *root.glob(f"{name}-*.dist-info")]:
            shutil.rmtree(path, ignore_errors=True)
    for path in list(root.rglob("*")):
        if path.name == "__pycache__" or (path.parent.name.endswith(".dist-info") and path.name in _NOT_NEEDED):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _make_room(root: Path, own: Collection[Included]) -> None:
    """Remove installed packages that the project has a module of the same name for: here, the project's is imported."""
    for entry in own:
        name, _, rest = entry.name.partition("/")
        if rest == "__init__.py":
            shutil.rmtree(root / name, ignore_errors=True)
        elif not rest and name.endswith(".py"):
            shutil.rmtree(root / name.removesuffix(".py"), ignore_errors=True)


def _compile(root: Path) -> None:
    """Compile every module. All times in the zip are equal, so Python must not compare them with the source's."""
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(root)]
    command += ["-p", "/var/task", str(root)]
    # Files that do not compile, such as code templates, are packaged as source only.
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, check=False)


def compile_methods(target: Path, sources: Collection[str]) -> None:
    """Compile the methods of dataclasses, in a process of their own like `compileall`, so that the file is reproducible."""
    program = (
        "import json, marshal, sys; from importlib.util import MAGIC_NUMBER\n"
        "made = {source: compile(source, '<string>', 'exec') for source in json.load(sys.stdin)}\n"
        "sys.stdout.buffer.write(MAGIC_NUMBER + marshal.dumps(made))"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, input=json.dumps(sources).encode(), stdout=subprocess.PIPE, check=True)
    target.write_bytes(done.stdout)


def why_missing(module: str, top: Path, entries: Collection[Entry], declared: Requirements) -> str:
    """Return why a module is not in the package, and what to do."""
    path = top.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py", path):
        reason = why_left_out(entries, file, top)
        if reason is not None and file.exists():
            return f"{reason}; rename or move it"
    place = "pyproject.toml" if (top / "pyproject.toml").is_file() else "requirements.txt"
    names = importlib.metadata.packages_distributions().get(module.partition(".")[0], ())
    if not names:
        return f"it is not installed here either; correct the name, or install it and add it to {place}"
    name = normalized(names[0])
    if name in declared.elsewhere:
        option = declared.elsewhere[name]
        return f"only {option} requires {names[0]}; call servey package {option}, or add it to the dependencies"
    if any(each.name == name for each in declared.requirements):
        return f"{names[0]} was not installed, because its marker excludes this platform; correct it in {place}"
    return f"it is of the package {names[0]}, which the project does not require; add {names[0]} to {place}"


# ------------------------------------------------------------------------------------------------------- the zip


def _sizes(root: Path) -> dict[str, int]:
    """Return the size in bytes of each top-level package and file."""
    found: dict[str, int] = {}
    for path in root.rglob("*"):
        if path.is_file():
            top = path.relative_to(root).parts[0]
            found[top] = found.get(top, 0) + path.stat().st_size
    return found


def _zip(root: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _MOMENT)
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


# ------------------------------------------------------------------------------------------ for another processor


def _runs_here(architecture: Architecture) -> bool:
    """Whether the compiled modules of the package can be imported by this Python."""
    is_linux = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    return is_linux and platform.machine() in _MACHINES[architecture]


def _overlay(root: Path) -> None:
    """Replace the compiled modules of another processor with those of the same distributions that are installed here."""
    for distribution in importlib.metadata.distributions(path=[str(root)]):
        if "Tag: " not in (distribution.read_text("WHEEL") or "") or "-none-any" in (
            distribution.read_text("WHEEL") or ""
        ):
            continue
        try:
            here = importlib.metadata.distribution(distribution.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # then it was not imported here either
        for file in here.files or ():
            source = Path(str(here.locate_file(file)))
            if ".." not in file.parts and file.suffix not in (".py", ".pyc") and source.is_file():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, root / file)
