"""Read what a project requires: `pyproject.toml` (PEP 621, PEP 735, uv, Poetry) and `requirements.txt`.

Source: PEP 508, 621 and 735; the pages "Requirements File Format" of pip, "Dependencies" of uv and "Dependency
specification" of Poetry.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from servey.core.errors import ConfigError


@dataclass(frozen=True)
class Requirement:
    """One requirement of the project.

    Shape: ``text`` is what pip installs, marker included; ``origin`` is the file and line, or table, that names it; the
    installed file must have one of the ``hashes``, unless there is none.
    """

    text: str
    origin: str
    hashes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The normalized name of the distribution; empty for a path."""
        return "" if self.text.startswith("/") else name_of(self.text)


@dataclass
class Requirements:
    """Everything that a project requires.

    Shape: ``options`` are the options of pip in requirements files; ``folders`` are local projects with the extras that
    are wanted of each; ``elsewhere`` are requirements of extras and groups that were not chosen, with the option that
    chooses them.
    """

    requirements: list[Requirement] = field(default_factory=list)
    constraints: list[Requirement] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    folders: dict[Path, set[str]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)


def name_of(requirement: str) -> str:
    """Return the normalized name at the start of a requirement, or an empty text."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return normalized(found[1]) if found else ""


def normalized(name: str) -> str:
    """Return the normalized name of a distribution."""
    return re.sub(r"[-_.]+", "-", name).lower()


def extras_of(requirement: str) -> set[str]:
    """Return the normalized extras of a requirement: `a[b,c]>=1` has b and c."""
    found = re.match(r"\s*[A-Za-z0-9._-]*\s*\[([^\]]*)\]", requirement)
    return {normalized(each.strip()) for each in found[1].split(",")} if found else set()


def read_requirements(folder: Path, groups: Collection[str] = (), extras: Collection[str] = ()) -> Requirements:
    """Return what the project in ``folder`` requires, with these dependency groups and extras.

    Errors: ConfigError with the file and line for what cannot be read, and for an unknown group or extra.
    """
    found = Requirements()
    known: set[str] = set()
    if (folder / "pyproject.toml").is_file():
        known = _read_pyproject(folder / "pyproject.toml", found, set(groups), {normalized(name) for name in extras})
    missing = sorted((set(groups) | {normalized(name) for name in extras}) - known)
    if missing:
        raise ConfigError(
            f"pyproject.toml has no group or extra {', '.join(missing)}; it has {', '.join(sorted(known)) or 'none'}"
        )
    if (folder / "requirements.txt").is_file():
        _read_file(folder / "requirements.txt", found, folder, seen=set())
    return found


# ------------------------------------------------------------------------------------------------ requirements.txt

_LINE = re.compile(r"^(--?[A-Za-z][A-Za-z-]*)(?:\s*=\s*|\s+|(?<=^-[a-zA-Z]))(.*)$")
_IGNORED = {"--no-binary", "--only-binary", "--require-hashes", "--use-feature", "--prefer-binary", "--progress-bar"}
"""The package is always made of wheels, and hashes are always checked."""
_VALUES = {"-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host"}
_FLAGS = {"--no-index", "--pre"}


def _read_file(place: Path, found: Requirements, top: Path, *, seen: set[Path], constraints: bool = False) -> None:
    if place.resolve() in seen:
        return
    seen.add(place.resolve())
    for number, line in _lines(place):
        origin = f"{_shown(place, top)}:{number}"
        matched = _LINE.match(line) if line.startswith("-") else None
        option, value = (matched[1], matched[2].strip().strip("'\"")) if matched else (line, "")
        if option in ("-r", "--requirement", "-c", "--constraint"):
            other = place.parent / value
            if not other.is_file():
                raise ConfigError(f"{origin}: {value} does not exist; correct the line")
            _read_file(other, found, top, seen=seen, constraints=constraints or option in ("-c", "--constraint"))
        elif option in ("-e", "--editable"):
            _add(value, origin, found, place.parent)
        elif option in _VALUES:
            if option in ("-f", "--find-links") and (place.parent / value).exists():
                value = str((place.parent / value).resolve())
            found.options.append(f"{option} {value}")
        elif line in _FLAGS:
            found.options.append(line)
        elif line.startswith("-"):
            if option not in _IGNORED:
                raise ConfigError(f"{origin}: the option {option} is not supported in a package; remove it")
        elif constraints:
            found.constraints.append(_requirement(line, origin))
        else:
            _add(line, origin, found, place.parent)


def _lines(place: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a requirements file with their numbers, without comments, with variables replaced."""
    content = place.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise ConfigError(f"{place.name} is not UTF-8; save it as UTF-8") from None
    whole, begin = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begin = begin or number
        line = "" if line.lstrip().startswith("#") else re.sub(r"\s+#.*$", "", line)
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        whole = re.sub(r"\$\{([A-Z0-9_]+)\}", lambda name: os.environ.get(name[1], name[0]), (whole + line).strip())
        if whole:
            yield begin, whole
        whole, begin = "", 0
    if whole.strip():
        yield begin, whole.strip()


def _add(line: str, origin: str, found: Requirements, base: Path) -> None:
    """Add a requirement: by name, by URL, a local file, or a local project."""
    requirement = _requirement(line, origin)
    text, hashes = requirement.text, requirement.hashes
    path = _path_of(text, base)
    if path is None:
        found.requirements.append(requirement)
    elif path.is_dir():
        found.folders.setdefault(path, set()).update(extras_of(text[text.rfind("[") :] if text.endswith("]") else text))
    elif path.is_file():
        if hashes and not any(_is_hash_of(path, each) for each in hashes):
            raise ConfigError(f"{origin}: {text} has none of its hashes; find out why before you use it")
        found.requirements.append(Requirement(str(path), origin))
    else:
        raise ConfigError(f"{origin}: {text} does not exist; correct the path")


def _requirement(line: str, origin: str) -> Requirement:
    """Return the requirement of a line, without the options after it; its hashes are among them."""
    text = re.sub(r"\s*--(hash|config-settings?|global-option)[= ]\S+", "", line).strip()
    return Requirement(text, origin, tuple(re.findall(r"--hash[= ](\S+)", line)))


def _is_hash_of(path: Path, hashed: str) -> bool:
    kind, _, digest = hashed.partition(":")
    return kind in ("sha256", "sha384", "sha512") and hashlib.new(kind, path.read_bytes()).hexdigest() == digest


def _path_of(text: str, base: Path) -> Path | None:
    """Return the local path of a requirement, or None for a requirement by name or by a remote URL."""
    target = text.partition(" @ ")[2].strip() or text
    target = target.partition(";")[0].strip().partition("#")[0]
    if target.startswith("file:"):
        return Path(unquote(urlsplit(target).path))
    if "://" in target or target.startswith("git+"):
        return None
    target = re.sub(r"\[[^\]]*\]$", "", target)
    is_path = target.startswith((".", "/", "~")) or target.endswith((".whl", ".tar.gz", ".zip")) or os.sep in target
    return (base / Path(target).expanduser()).resolve() if is_path else None


def _shown(place: Path, top: Path) -> str:
    return os.path.relpath(place, top)


# -------------------------------------------------------------------------------------------------- pyproject.toml


def _read_pyproject(place: Path, found: Requirements, groups: set[str], extras: set[str]) -> set[str]:
    """Add the requirements of `pyproject.toml`; return the names of its groups and extras."""
    try:
        data = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"pyproject.toml is not valid: {error}") from None
    project, tool = data.get("project", {}), data.get("tool", {})
    sources = tool.get("uv", {}).get("sources", {})
    chosen: list[tuple[str, str]] = [(line, "dependencies") for line in project.get("dependencies", ())]
    optional = {normalized(name): lines for name, lines in project.get("optional-dependencies", {}).items()}
    grouped = data.get("dependency-groups", {})
    for name, lines in optional.items():
        _choose(lines, f"--extra {name}", name in extras, chosen, found)
    for name in grouped:
        _choose(_group(name, grouped, ()), f"--group {name}", name in groups, chosen, found)
    for line, origin in chosen:
        _add_sourced(line, f"pyproject.toml ({origin})", sources, found, place.parent)
    for line in tool.get("uv", {}).get("constraint-dependencies", ()):
        found.constraints.append(Requirement(line, "pyproject.toml (tool.uv.constraint-dependencies)"))
    _read_dynamic(place, project, tool, found)
    poetry = tool.get("poetry", {})
    known = _read_poetry(place, poetry, found, groups, extras, {name_of(line) for line, _ in chosen})
    return known | set(optional) | set(grouped)


def _choose(lines: Any, option: str, wanted: bool, chosen: list[tuple[str, str]], found: Requirements) -> None:
    for line in lines:
        if wanted:
            chosen.append((line, option))
        else:
            found.elsewhere.setdefault(name_of(line), option)


def _group(name: str, groups: Mapping[str, Any], outer: tuple[str, ...]) -> Iterator[str]:
    if name in outer or name not in groups:
        problem = "includes itself" if name in outer else "does not exist"
        raise ConfigError(f"pyproject.toml: the dependency group '{name}' {problem}; correct [dependency-groups]")
    for item in groups[name]:
        if isinstance(item, str):
            yield item
        elif "include-group" in item:
            yield from _group(item["include-group"], groups, (*outer, name))


def _add_sourced(line: str, origin: str, sources: Mapping[str, Any], found: Requirements, base: Path) -> None:
    """Add a requirement from where `[tool.uv.sources]` says, otherwise from the package index."""
    by_name = {normalized(name): source for name, source in sources.items()}
    source = by_name.get(name_of(line), {})
    source = source[0] if isinstance(source, list) and source else source
    text = _from(re.match(r"\s*[A-Za-z0-9._-]+\s*(\[[^\]]*\])?", line)[0].strip(), source)  # type: ignore[index]
    if text is None:
        _add(line, origin, found, base)
        return
    marker = line.partition(";")[2].strip()
    _add(text + (f" ; {marker}" if marker else ""), origin, found, base)


def _from(name: str, source: Mapping[str, Any]) -> str | None:
    """Return a requirement with the path or URL of its source, as uv and Poetry write one; None without such a source."""
    if "path" in source:
        extras = re.search(r"\[[^\]]*\]$", name)
        path = str(source["path"])
        return f"{path if os.sep in path or path.startswith('.') else './' + path}{extras[0] if extras else ''}"
    if "url" in source:
        return f"{name} @ {source['url']}"
    if "git" in source:
        revision = next((source[key] for key in ("rev", "tag", "branch") if key in source), None)
        folder = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return f"{name} @ git+{source['git']}{'@' + revision if revision else ''}{folder}"
    return None


def _read_dynamic(place: Path, project: Mapping[str, Any], tool: Mapping[str, Any], found: Requirements) -> None:
    """Add the requirements files that setuptools reads for dynamic dependencies."""
    if "dependencies" in project.get("dynamic", ()):
        dynamic = tool.get("setuptools", {}).get("dynamic", {}).get("dependencies", {})
        files = dynamic.get("file", ())
        for name in [files] if isinstance(files, str) else files:
            if (place.parent / name).is_file():
                _read_file(place.parent / name, found, place.parent, seen=set())


# --------------------------------------------------------------------------------------------------------- Poetry


def _read_poetry(
    place: Path, poetry: Mapping[str, Any], found: Requirements, groups: set[str], extras: set[str], listed: set[str]
) -> set[str]:
    optional = {normalized(name): set(map(normalized, each)) for name, each in poetry.get("extras", {}).items()}
    wanted = {name for extra in extras & set(optional) for name in optional[extra]}
    tables = {name: table.get("dependencies", {}) for name, table in poetry.get("group", {}).items()}
    if "dev-dependencies" in poetry:
        tables.setdefault("dev", poetry["dev-dependencies"])
    for group, table in [("", poetry.get("dependencies", {})), *tables.items()]:
        for name, given in table.items():
            if normalized(name) == "python" or (normalized(name) in listed and not isinstance(given, Mapping)):
                continue
            for spec in given if isinstance(given, list) else [given]:
                spec = {"version": spec} if isinstance(spec, str) else spec
                if group and group not in groups:
                    found.elsewhere.setdefault(normalized(name), f"--group {group}")
                elif not spec.get("optional") or normalized(name) in wanted:
                    origin = f"pyproject.toml (tool.poetry{'.group.' + group if group else ''}.dependencies)"
                    _add(_poetry_line(name, spec), origin, found, place.parent)
    return set(optional) | set(tables)


def _poetry_line(name: str, spec: Mapping[str, Any]) -> str:
    full = name + (f"[{','.join(spec['extras'])}]" if spec.get("extras") else "")
    line = _from(full, spec) or full + poetry_version(str(spec.get("version", "*")))
    markers = [f"({spec['markers']})"] if spec.get("markers") else []
    python = poetry_version(str(spec.get("python", "*")))
    markers += [
        f"python_version {operator} '{version}'"
        for operator, version in re.findall(r"(>=|<=|==|!=|<|>)([^,]+)", python)
    ]
    return f"{line} ; {' and '.join(markers)}" if markers else line


def poetry_version(text: str) -> str:
    """Convert a version constraint of Poetry to PEP 440: `^1.2` is `>=1.2,<2`.

    Alternatives with `||` become no constraint: the package has the installed version anyway.
    """
    made = []
    for part in (each.strip() for each in text.split(",")):
        matched = re.fullmatch(r"(\^|~(?!=))\s*([\d.]+)(.*)", part)
        if "|" in part or part in ("*", ""):
            continue
        if matched is None:
            made.append(part.replace(" ", "") if part[0] in "<>=!~" else f"=={part}")
            continue
        numbers = [int(each) for each in matched[2].strip(".").split(".")]
        if matched[1] == "~":
            keep = min(2, len(numbers))
        else:
            keep = next((index + 1 for index, number in enumerate(numbers) if number), len(numbers))
        upper = [*numbers[: keep - 1], numbers[keep - 1] + 1]
        made.append(f">={matched[2]}{matched[3]},<{'.'.join(map(str, upper))}")
    return ",".join(made)
