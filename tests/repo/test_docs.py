"""The README and the docs tell the truth: what they show runs, what they link to exists, what there is they name."""

import ast
import importlib.util
import inspect
import re

import pytest
import typer

import servey
from servey.cli import cli
from servey.core.settings import Settings
from servey.seed_imports import SEED_PATHS
from tests.repo.snippets import NO_BYTECODE, Block, Project, blocks_of
from tests.serving import ROOT, CommandLine

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "VERSIONING.md")),
    ROOT / "examples" / "tour" / "README.md",
    ROOT / "servey" / "guide" / "SKILL.md",
    *sorted(DOCS.rglob("*.md")),
]
TUTORIAL = sorted(DOCS.glob("tutorial/*.md"), key=lambda path: int(path.name.partition("-")[0]))


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def table_rows(text: str, header: str) -> list[list[str]]:
    """The cells of a table, by its first header."""
    lines = text.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        rows.append([cell.strip().replace("\\|", "|") for cell in cells])
    return rows


# ------------------------------------------------------------------------------------------------------- what it shows


@pytest.fixture(scope="module")
def processes():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NO_BYTECODE.items():
            patch.setenv(name, value)
        processes = CommandLine()
    yield processes
    processes.close()


@pytest.fixture
def project(tmp_path, processes):
    project = Project(tmp_path, processes)
    yield project
    project.close()


@pytest.mark.docs
@pytest.mark.parametrize("path", sorted({*PAGES} - {*TUTORIAL}), ids=lambda path: str(path.relative_to(ROOT)))
def test_its_snippets_run(path, project):
    for block in blocks_of(path):
        project.play(block)


def test_a_wrong_snippet_is_found(project):
    file = "# actions.py\nfrom servey import action\n\n@action\ndef double(n: int) -> int:\n    return 2 * n\n"
    project.play(Block("page", 1, "python", file, ""))
    project.play(Block("page", 2, "console", "$ servey call double n=4\n8\n", ""))
    project.play(Block("page", 3, "console", "$ servey call double n=x\nerror: ...(invalid_params)\n", ""))
    project.play(Block("page", 4, "console", "$ servey call double n=4\n7\n", "not run: it is wrong"))
    wrong = [
        ("console", "$ servey call double n=4\n7\n"),
        ("console", "$ servey call double n=4\n"),
        ("console", "$ rm -r everything\n"),
        ("python", "from actions import double\n\nassert double(2) == 5\n"),
        ("python", "# actions.py\nfrom servey import nothing\n"),
    ]
    for kind, text in wrong:
        with pytest.raises(AssertionError):
            project.play(Block("page", 5, kind, text, ""))


# ---------------------------------------------------------------------------------------------------- what it links to


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for title in re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    ):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = sum(each == slug or re.fullmatch(f"{slug}-\\d+", each) is not None for each in found)
        found.append(f"{slug}-{number}" if number else slug)
    return set(found)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert not target.startswith("http"), "what is elsewhere may be gone tomorrow"
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{path.name}: {target}"


def test_the_index_has_every_page():
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", page("index.md")))
    assert linked == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} - {"index.md"}


# -------------------------------------------------------------------------------------------------------- what there is


def errors_raised() -> set[tuple[int, str]]:
    """Every status with its code in the package."""
    found = set()
    for path in (ROOT / "servey").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and len(call.args) >= 2:
                status, code = call.args[:2]
                if (
                    isinstance(status, ast.Constant)
                    and isinstance(status.value, int)
                    and isinstance(code, ast.Constant)
                ):
                    found.add((status.value, code.value))
    return {(status, code) for status, code in found if 400 <= status < 600 and isinstance(code, str)}


def test_every_error_code_is_in_its_table():
    rows = table_rows(page("errors.md"), "status")
    listed = {(int(status), code.strip("`")) for status, code, _ in rows if status.isdigit() and status != "422"}
    assert listed == errors_raised() - {(422, "invalid_params"), (422, "invalid_frame")}
    assert "`invalid_frame`" in page("channels.md")


def test_every_kind_of_invalid_parameter_is_in_its_table():
    made = set()
    for path in (ROOT / "servey").rglob("*.py"):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(each, ast.Dict):
                pairs = {getattr(key, "value", None): value for key, value in zip(each.keys, each.values, strict=True)}
                if {"type", "loc", "msg"} <= set(pairs) and isinstance(pairs["type"], ast.Constant):
                    made.add(pairs["type"].value)
    assert {name.strip("`") for name, _ in table_rows(page("errors.md"), "type")} == made


def test_every_command_has_its_section_with_every_option():
    text = page("command-line.md")
    sections = dict(re.findall(r"^## servey ([\w-]+)\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL))
    commands = typer.main.get_command(cli).commands
    assert set(sections) == set(commands)
    for name, command in commands.items():
        for parameter in command.params:
            words = [word for word in parameter.opts if word.startswith("-")] or [parameter.name.upper()]
            known = {"PARAMS": "NAME=VALUE"}
            for word in words:
                assert known.get(word, word) in sections[name], f"servey {name}: {word}"


def test_every_public_name_is_named():
    everything = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert [name for name in servey.__all__ if not re.search(rf"\b{name}\b", everything)] == []


def test_every_argument_of_the_decorator_is_in_its_table():
    arguments = [name for name in inspect.signature(servey.action).parameters if name not in ("fn", "unknown")]
    assert sorted(name.strip("`") for name, *_ in table_rows(page("actions.md"), "argument")) == sorted(arguments)


def test_every_route_of_an_app_is_named():
    app = servey.create_app(actions=[], settings=Settings(env="dev"))
    paths = [route.path for route in app.routes if not route.path.startswith("/_servey")]
    assert paths
    assert [path for path in paths if f"`{path}`" not in page("rest.md")] == []


def test_every_import_path_of_servey_5_is_in_its_table():
    rows = table_rows(page("from-servey-5.md"), "module of servey 5")
    listed = {module.strip("`"): {name.strip("` ") for name in names.split(",")} for module, names, _ in rows}
    assert listed == {module: set(names) for module, names in SEED_PATHS.items()}
    for _, _, today in rows:
        exec(today.strip("`"), {})


def test_the_map_of_the_code_has_every_folder():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = ROOT / "servey"
    folders = {f"{path.parent.relative_to(package)}/" for path in package.rglob("*.py")} - {"./", "new_project/tests/"}
    files = {str(path.relative_to(package)) for path in package.glob("*.py")} - {"__init__.py"}
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", text))
    assert (folders | files) - named == set()
    assert {name for name in named if not (package / name).exists() and not (ROOT / name).exists()} == set()


def test_the_table_of_changes_names_files():
    rows = table_rows((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "to change")
    named = {what: re.findall(r"`([\w/]+(?:\.py|/))`", where) for what, where in rows}
    assert len(named) > 20
    assert [what for what, paths in named.items() if not paths] == []
    assert {path for paths in named.values() for path in paths if not (ROOT / "servey" / path).exists()} == set()


def test_every_command_of_the_clone_is_named():
    import dev

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in dev.COMMANDS if f"python3 dev.py {name}" not in text] == []


WHERE = {
    "a REST route": "servey.routers.rest.routes",
    "a stream": "servey.routers.rest.streams",
    "a command": "servey.cli",
    "a function with FastAPI dependencies": "servey.calls.dependencies",
    "guarded": "servey.auth.tokens",
    "a test of each of its examples": "servey.testing",
    "routes of your FastAPI app": "servey.app",
    "a GraphQL field": "servey.graphql",
    "a tool for AI agents": "servey.mcp",
    "a background job": "servey.jobs",
    "a publisher to event channels": "servey.ws",
    "a publisher to webhooks": "servey.jobs.webhooks",
    "a web page": "servey.routers.pages.routes",
    "cached": "servey.caching.results",
    "a login": "servey.routers.login",
    "an AWS Lambda": "servey.aws",
    "served by a cluster": "servey.ws",
}
"""The module that has what a row of the README's table promises."""


def test_the_readme_promises_what_is_there():
    rows = table_rows(README.read_text(encoding="utf-8"), "one action becomes")
    assert len(rows) == len(WHERE)
    for what, _ in rows:
        module = next(module for begin, module in WHERE.items() if what.startswith(begin))
        assert importlib.util.find_spec(module) is not None, what
