"""Install the requirements of a package with pip: wheels for another processor, in the versions that are installed here."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from servey.core.errors import ConfigError
from servey.sls.packaging.requirements import Requirement, Requirements, extras_of, normalized, read_requirements


@dataclass(frozen=True)
class Plan:
    """What pip installs, and what is copied because it was installed from a folder of this machine.

    Shape: ``copied`` are the distributions whose installed files are copied; editable ones have none.
    """

    requirements: tuple[Requirement, ...]
    constraints: tuple[Requirement, ...]
    options: tuple[str, ...]
    copied: tuple[Distribution, ...]


def local_distributions() -> dict[str, tuple[Distribution, Path]]:
    """Return the distributions that were installed from this machine, by name, with their folder or file."""
    found = {}
    for distribution in importlib.metadata.distributions():
        url = str(_direct_url(distribution).get("url", ""))
        if url.startswith("file:"):
            found[normalized(distribution.name)] = (distribution, Path(unquote(urlsplit(url).path)))
    return found


def is_editable(distribution: Distribution) -> bool:
    """Whether the modules of a distribution are in the folder that it was installed from."""
    return bool(_direct_url(distribution).get("dir_info", {}).get("editable"))


def _direct_url(distribution: Distribution) -> dict[str, Any]:
    try:
        found = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def plan_of(wanted: Requirements, known: Iterable[Requirement], left_out: Collection[str]) -> Plan:
    """Decide how each requirement gets into the package; ``known`` are requirements beyond the project's.

    No index has what was installed from a folder: its requirements are installed, and its files are copied.
    """
    local = local_distributions()
    by_folder = {path.resolve(): name for name, (_, path) in local.items()}
    waiting: list[Requirement] = [*known, *wanted.requirements]
    options, constraints = [*wanted.options], [*wanted.constraints]
    folders = list(wanted.folders.items())
    made: list[Requirement] = []
    copied: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting or folders:
        if folders:
            folder, extras = folders.pop()
            if folder in by_folder:
                suffix = f"[{','.join(sorted(extras))}]" if extras else ""
                waiting.append(Requirement(by_folder[folder] + suffix, str(folder)))
            elif (str(folder), frozenset(extras)) not in seen:
                seen.add((str(folder), frozenset(extras)))
                inner = read_requirements(folder, extras=extras)
                waiting += inner.requirements
                options += inner.options
                constraints += inner.constraints
                folders += inner.folders.items()
            continue
        requirement = waiting.pop(0)
        key = (requirement.name, frozenset(extras_of(requirement.text)))
        if requirement.name in left_out or (requirement.name in local and key in seen):
            continue
        if requirement.name in local:
            seen.add(key)
            distribution, _ = local[requirement.name]
            copied[requirement.name] = distribution
            waiting += requires(distribution, key[1])
        else:
            made.append(requirement)
    return Plan(
        tuple(dict.fromkeys(made)),
        tuple(dict.fromkeys(constraints)),
        tuple(dict.fromkeys(options)),
        tuple(copied.values()),
    )


def requires(distribution: Distribution, extras: Collection[str]) -> Iterator[Requirement]:
    """Yield the requirements of an installed distribution with these extras."""
    for line in distribution.requires or ():
        text, _, marker = line.partition(";")
        named = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if named is not None and normalized(named[1]) not in extras:
            continue
        # The extra is chosen; what is left of the marker still counts.
        marker = re.sub(r"extra\s*==\s*['\"][^'\"]+['\"]", "python_version >= '3'", marker)
        yield Requirement(f"{text.strip()} ;{marker}" if marker else text.strip(), distribution.name)


def install(plan: Plan, root: Path, scratch: Path, platforms: Collection[str], architecture: str) -> None:
    """Install the requirements into ``root`` and check their hashes.

    Errors: ConfigError if pip is missing or cannot install a requirement, or if a file has another hash.
    """
    if importlib.util.find_spec("pip") is None:
        raise ConfigError("building the package requires pip, which is not installed; run python -m ensurepip")
    wanted, constraints, report = scratch / "requirements.txt", scratch / "constraints.txt", scratch / "report.json"
    lines = [*plan.options, *(requirement.text for requirement in plan.requirements)]
    wanted.write_text("\n".join(lines) + "\n", encoding="utf-8")
    constraints.write_text(
        "\n".join([*_installed_versions(), *(each.text for each in plan.constraints)]) + "\n", encoding="utf-8"
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-compile"]
    command += ["--target", str(root), "--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    command += [f"--platform={each}" for each in platforms]
    command += ["--requirement", str(wanted), "--constraint", str(constraints), "--report", str(report)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-3:]
        raise ConfigError(
            f"pip cannot install the package's requirements for {architecture}: {' '.join(lines)}{_hint(done.stderr)}"
        )
    installed = json.loads(report.read_text(encoding="utf-8"))
    check_hashes(plan.requirements, installed)
    check_hashes(plan.constraints, installed)


def _hint(said: str) -> str:
    if "conflict" in said:
        return "; the package gets the versions that are installed here: install the project's requirements first"
    if "No matching distribution" in said or "from versions: none" in said:
        return "; the package is made of wheels only, and this one has none for this processor and Python version"
    return ""


def _installed_versions() -> Iterator[str]:
    for found in importlib.metadata.distributions():
        # A package that was installed from elsewhere has a version that a package index may not have.
        if found.name and not _direct_url(found):
            yield f"{found.name}=={found.version}"


def check_hashes(requirements: Iterable[Requirement], report: dict[str, Any]) -> None:
    """Compare the hashes of the installed files, as in pip's report, with those of the requirements.

    pip would check them itself only if every requirement had one, those of Servey included.
    Errors: ConfigError.
    """
    allowed: dict[str, set[str]] = {}
    for requirement in requirements:
        if requirement.hashes:
            allowed.setdefault(requirement.name, set()).update(requirement.hashes)
    for each in report.get("install", ()):
        name = normalized(each["metadata"]["name"])
        if name in allowed and not allowed[name] & set(_hashes(each.get("download_info", {}))):
            raise ConfigError(
                f"{name}: the installed file has none of the hashes in the requirements; find out why before you use it"
            )


def _hashes(download: dict[str, Any]) -> Iterator[str]:
    """Yield the hashes of a file that pip installed: those that it has verified, or computed for a local file."""
    url = str(download.get("url", ""))
    if url.startswith("file:"):
        content = Path(unquote(urlsplit(url).path)).read_bytes()
        yield from (f"{kind}:{hashlib.new(kind, content).hexdigest()}" for kind in ("sha256", "sha384", "sha512"))
    for kind, digest in download.get("archive_info", {}).get("hashes", {}).items():
        yield f"{kind}:{digest}"


def copy_installed(distribution: Distribution, root: Path) -> None:
    """Copy the modules and the metadata of an installed distribution; of an editable one, the metadata only."""
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        is_module = ".." not in file.parts and file.suffix not in (".pyc", ".pth") and "__pycache__" not in file.parts
        if is_module and source.is_file() and not file.name.startswith("__editable__"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, root / file)
