"""Build the zip of a project's Lambda function: reproducible, precompiled, for arm64 or x86_64, without Docker.

Source: Lambda developer guide, "Working with .zip file archives for Python Lambda functions" and "Lambda runtimes".
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import servey
from servey.core.errors import ConfigError

Architecture: TypeAlias = Literal["arm64", "x86_64"]

LARGEST_BYTES = 250 * 1024 * 1024
"""Source: Lambda quotas, deployment package, unzipped."""
_MOMENT = (1980, 1, 1, 0, 0, 0)
_IN_THE_RUNTIME = ("boto3", "botocore", "s3transfer")
"""Packages that the Lambda runtime includes."""
_NOT_DEPLOYED = {"node_modules", "tests", "build", "dist", "serverless_servey", "__pycache__"}
_NOT_NEEDED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def build_package(target: Path, architecture: Architecture, needed: Iterable[str]) -> tuple[int, int]:
    """Write the zip of the project in the working directory; return its compressed and uncompressed size in bytes.

    ``needed`` are the names of the optional requirements of Servey that the app uses. Versions are the installed ones.
    Errors: ConfigError if a requirement cannot be installed or the package is too large for Lambda.
    """
    with TemporaryDirectory() as scratch:
        root = Path(scratch, "task")
        root.mkdir()
        _install(root, Path(scratch), architecture, set(needed))
        _copy_project(root)
        _copy_servey(root)
        _leave_out(root)
        _compile(root)
        sizes = _sizes(root)
        if sum(sizes.values()) > LARGEST_BYTES:
            largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
            shown = ", ".join(f"{name} {sizes[name] // 2**20} MB" for name in largest)
            raise ConfigError(
                f"the package has {sum(sizes.values()) // 2**20} MB; Lambda's limit is {LARGEST_BYTES // 2**20} MB; "
                f"the largest parts are {shown}"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        _zip(root, target)
        return target.stat().st_size, sum(sizes.values())


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


# --------------------------------------------------------------------------------------------------- what goes in


def _install(root: Path, scratch: Path, architecture: Architecture, needed: set[str]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ConfigError("building the package requires pip, which is not installed; run python -m ensurepip")
    wanted = scratch / "requirements.txt"
    wanted.write_text("\n".join([*_servey_needs(needed), *_project_needs()]) + "\n", encoding="utf-8")
    constraints = scratch / "constraints.txt"
    constraints.write_text("\n".join(_installed_versions()) + "\n", encoding="utf-8")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-compile"]
    command += ["--target", str(root), "--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    command += [f"--platform={each}" for each in _platforms(architecture)]
    command += ["--requirement", str(wanted), "--constraint", str(constraints)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-3:]
        raise ConfigError(f"pip cannot install the package's requirements for {architecture}: {' '.join(lines)}")


def _platforms(architecture: Architecture) -> list[str]:
    """Return the wheel platforms that the runtime supports: Amazon Linux 2 up to Python 3.11, then Amazon Linux 2023."""
    machine = "aarch64" if architecture == "arm64" else "x86_64"
    newest = 26 if sys.version_info < (3, 12) else 34
    return [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)] + [f"manylinux2014_{machine}"]


def _servey_needs(needed: set[str]) -> Iterator[str]:
    """Yield Servey's requirements, and those of its optional requirements that the app uses."""
    for line in importlib.metadata.requires("servey") or ():
        requirement, _, marker = line.partition(";")
        if "extra ==" not in marker or _name_of(requirement) in needed:
            yield requirement.strip()


def _project_needs() -> Iterator[str]:
    file = Path("requirements.txt")
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        if _name_of(line) not in {*_IN_THE_RUNTIME, "servey"}:
            yield line


def _installed_versions() -> Iterator[str]:
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"]
        # A package installed from a folder has a version that a package index may not have.
        if name and found.read_text("direct_url.json") is None:
            yield f"{name}=={found.version}"


def _name_of(requirement: str) -> str:
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _copy_project(root: Path) -> None:
    """Copy the working directory without hidden files, generated folders and tests."""
    for folder, folders, files in os.walk("."):
        inside = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _NOT_DEPLOYED
            and not name.endswith(".egg-info")
            and not (inside / name / "pyvenv.cfg").exists()
        )
        for name in files:
            if not (
                name.startswith(".") or name.endswith(".pyc") or (inside == Path(".") and name.startswith("test_"))
            ):
                (root / inside).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(inside / name, root / inside / name)


def _copy_servey(root: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "new_project")
    shutil.copytree(Path(servey.__file__).parent, root / "servey", ignore=ignored, dirs_exist_ok=True)


def _leave_out(root: Path) -> None:
    for path in [root / "bin", *(path for name in _IN_THE_RUNTIME for path in root.glob(f"{name}*"))]:
        shutil.rmtree(path, ignore_errors=True)
    for path in list(root.rglob("*")):
        if path.name == "__pycache__" or (path.parent.name.endswith(".dist-info") and path.name in _NOT_NEEDED):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _compile(root: Path) -> None:
    """Compile every module. All times in the zip are equal, so Python must not compare them with the source's."""
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(root)]
    command += ["-p", "/var/task", str(root)]
    # Files that do not compile, such as code templates, are packaged as source only.
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, check=False)


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
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


_START = "import sys; from servey.aws import handler; handler.start(); print(*sorted(sys.modules))"
_AS_IF_DEPLOYED = {
    "SERVEY_ENV": "prod",
    "SERVEY_KMS_KEY_ID": "arn:aws:kms:us-east-1:123456789012:key/none",
    "SERVEY_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/none",
    "SERVEY_CONNECTION_TABLE": "none",
    "SERVEY_WEBSOCKET_ENDPOINT": "https://none.execute-api.us-east-1.amazonaws.com/none",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def needed_at_start() -> set[str]:
    """Return the names of the distributions that the function imports when it starts.

    Errors: ConfigError if it does not start.
    """
    dropped = {name: "" for name in ("JWT_SECRET_KEY", "SERVEY_JWT_SECRET_KEY") if name in os.environ}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [sys.executable, "-c", _START],
        env={**environment, **_AS_IF_DEPLOYED},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(
            f"the function does not start: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    modules = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    of_module = importlib.metadata.packages_distributions()
    return {_name_of(each) for module in modules for each in of_module.get(module, ())}
