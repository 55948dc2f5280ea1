"""Imports point one way: the folders of the package are layers, and a module imports its own layer or a lower one.

The layers are read from the folders; imports under ``TYPE_CHECKING`` and inside functions count like all others.
"""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "servey"
LAYERS = (
    {"compat"},
    {"core"},
    {"auth"},
    {"observability"},
    {"caching"},
    {"calls"},
    {"events"},
    {"http"},
    {"layout"},
    {"runtime"},
    {"graphql", "aws", "jobs", "mcp", "routers", "ws"},
)
"""From the lowest to the highest; folders of one layer may not import each other."""
LEVELS = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}
TOP = {
    "__init__",
    "__main__",
    "app",
    "building",
    "cli",
    "console",
    "development",
    "exposure",
    "keyset",
    "kubernetes",
    "migrate5",
    "mounting",
    "project",
    "pytest_plugin",
    "seed_imports",
    "granian_server",
    "server",
    "sls",
    "testing",
    "worker",
}
"""What authors of apps import or run; it puts the layers together and may import all of them."""
COPIED = {"new_project"}
CORE_MAY_USE = {"dotenv", "pydantic", "pydantic_core", "pydantic_settings", "servey"}

FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in COPIED]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


def imported_by(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{name.name}" for name in node.names}
            found |= (members & MODULES.keys()) or {node.module}
    return found


def folder_of(module: str) -> str:
    # `servey.aws` itself makes the handler of a whole project, so it belongs to the top.
    return "__init__" if module in ("servey", "servey.aws") else module.split(".")[1]


def test_every_folder_has_its_layer():
    assert {folder_of(module) for module in MODULES} == set(LEVELS) | TOP


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_one_way(module):
    own = folder_of(module)
    if own in TOP:
        return
    for imported in imported_by(MODULES[module]) & MODULES.keys():
        other = folder_of(imported)
        assert other in LEVELS, f"{module} imports {imported}, which is above every layer"
        if other != own:
            assert LEVELS[other] < LEVELS[own], f"{module} imports {imported}, which is not below it"


def test_no_modules_import_each_other_in_a_ring():
    """Not even for type checkers, except that `servey` itself exports names lazily."""
    graph = {module: imported_by(path) & MODULES.keys() - {module} for module, path in MODULES.items()}
    graph["servey"] = set()
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a ring of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("core/**/*.py")), ids=lambda path: path.name)
def test_the_core_needs_the_standard_library_pydantic_and_dotenv_only(path):
    outside = {module.partition(".")[0] for module in imported_by(path)} - set(sys.stdlib_module_names)
    assert outside <= CORE_MAY_USE


def test_no_module_takes_the_name_of_an_old_package():
    taken = {path.stem for path in PACKAGE.iterdir()}
    assert not taken & {"action", "trigger", "cache_control", "security", "event_channel"}


def test_modules_stay_short():
    long = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_folders_stay_small():
    folders = {path.parent for path in FILES}
    counts = {str(folder.relative_to(PACKAGE)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > 18} == {}
