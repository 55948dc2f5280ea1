"""The parts of the docs that are generated from the code: settings, commands, metrics; and the index for agents.

A part stands on its page between ``<!-- generated: NAME -->`` and ``<!-- end -->``. ``python3 dev.py docs --write``
writes all of them; a test fails if a page differs from the code.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from servey.cli import cli
from servey.core.settings import Settings
from servey.observability import metrics

ROOT = Path(__file__).resolve().parent.parent


def settings_table() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variables = [f"SERVEY_{name.upper()}"] if alias is None else list(alias.choices)  # type: ignore[union-attr]
        rows.append(
            [", ".join(f"`{each}`" for each in variables), f"`{name}`", shown(field.default), field.description]
        )
    return table(["variable", "field", "default", "what it is"], rows)


def metrics_table() -> str:
    found = [each for each in vars(metrics).values() if isinstance(each, metrics.Metric)]
    rows = [[f"`{each.name}`", each.kind, ", ".join(each.labels), each.help] for each in found]
    return table(["metric", "kind", "labels", "meaning"], rows)


def commands() -> str:
    """Every command with its arguments and options."""
    parts = []
    for name, command in commands_of(typer.main.get_command(cli), "servey"):
        rows = [
            [", ".join(f"`{word}`" for word in words_of(each)), default_of(each), sentence(each.help)]
            for each in command.params
        ]
        options = table(["argument or option", "default", "what it is"], rows) if rows else ""
        parts.append(f"## {name}\n\n{' '.join(command.help.split())}\n\n{options}".rstrip())
    return "\n\n".join(parts) + "\n"


def commands_of(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{path} {name}")


def words_of(parameter: Any) -> list[str]:
    """How an argument or option is typed."""
    options = [word for word in parameter.opts if word.startswith("-")]
    return options or [parameter.metavar or parameter.name.upper()]


def default_of(parameter: Any) -> str:
    """The constant default of an argument or option, if it has one."""
    if parameter.required:
        return "required"
    return "" if parameter.default in (None, False) else shown(parameter.default)


def sentence(text: str) -> str:
    """A help text whose default, at its end in brackets, is part of the sentence."""
    return re.sub(r" \[default: (.+)\]$", r"; by default \1", text)


def shown(value: object) -> str:
    """A default as code, or "none"."""
    value = ",".join(value) if isinstance(value, tuple) else value
    return "none" if value in (None, "") else f"`{int(value) if isinstance(value, bool) else value}`"


def pages_of_the_docs() -> str:
    """The pages of docs/index.md with addresses that lead there from anywhere. Source: llmstxt.org."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = project["urls"]["Documentation"].removesuffix("index.md")
    lines = []
    for line in (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines():
        found = re.fullmatch(r"(?:\| )?\[(.+?)\]\((\w[\w/-]*\.md)\) (?:\| )?(.+?)(?: \|)?", line)
        if line.startswith("## "):
            lines += ["", line, ""]
        elif found:
            words = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", found[3])
            lines.append(f"- [{found[1]}]({base}{found[2]}): {words}")
    return "\n".join(lines).strip() + "\n"


def table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


GENERATED: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("docs/settings.md", settings_table),
    "metrics": ("docs/operating.md", metrics_table),
    "commands": ("docs/reference/commands.md", commands),
    "pages": ("servey/guide/llms.txt", pages_of_the_docs),
}
"""Each generated part: its page, and the function that returns it."""


def with_generated(name: str, text: str) -> str:
    """The text of a page with this part as the code has it now."""
    begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
    if text.count(begin) != 1:
        raise ValueError(f"the page of '{name}' needs the line '{begin.strip()}' once")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{GENERATED[name][1]()}\n{end}{after}"


def write() -> None:
    """Write every generated part into its page."""
    for name, (page, _) in GENERATED.items():
        path = ROOT / page
        path.write_text(with_generated(name, path.read_text(encoding="utf-8")), encoding="utf-8")
