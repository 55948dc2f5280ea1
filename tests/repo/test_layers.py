"""Imports point one way: kernel <- runtime <- transports <- composition; and no transport imports another."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "servey"
KERNEL = {
    "errors",
    "access",
    "cache",
    "canonical",
    "queues",
    "triggers",
    "context",
    "params",
    "actions",
    "pages",
    "channels",
    "catalog",
    "settings",
}
RUNTIME = {
    "audit",
    "bodies",
    "backends",
    "compat",
    "compression",
    "condition",
    "conditional",
    "dependencies",
    "encode",
    "events",
    "feeds",
    "enqueue",
    "ids",
    "invoke",
    "jwks",
    "keeping",
    "limits",
    "origins",
    "logs",
    "metrics",
    "parts",
    "results",
    "runtime",
    "sending",
    "signals",
    "steps",
    "subscriptions",
    "telemetry",
    "threads",
    "tokens",
    "web",
}
TRANSPORTS = {
    "graphql",
    "aws",
    "jobs",
    "routers",
    "ws",
}
COMPOSITION = {
    "__init__",
    "__main__",
    "app",
    "aws_handler",
    "cli",
    "pytest_plugin",
    "seed_imports",
    "server",
    "sls",
    "testing",
    "worker",
}
TEMPLATES = {"new_project"}
LEVELS = {name: level for level, names in enumerate((KERNEL, RUNTIME, TRANSPORTS, COMPOSITION)) for name in names}
KERNEL_MAY_USE = {"pydantic", "pydantic_core", "pydantic_settings", "servey"}


class WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)


def imported_by(path: Path) -> set[str]:
    """The modules that a file imports when it is imported itself, type checkers' imports left out."""
    found: set[str] = set()
    for node in ast.walk(WithoutTypeChecking().visit(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "servey":
                found |= {f"servey.{name.name}" for name in node.names if (PACKAGE / f"{name.name}.py").exists()}
    return found


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in TEMPLATES]


def room(path: Path) -> str:
    first, *deeper = path.relative_to(PACKAGE).parts
    # The package's own file makes the handler of a whole project, so that it puts an app together.
    return "aws_handler" if (first, deeper) == ("aws", ["__init__.py"]) else first.removesuffix(".py")


def test_every_module_has_its_layer():
    assert {room(path) for path in FILES} == set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = room(path)
    if own in COMPOSITION:
        return
    for module in imported_by(path):
        parts = module.split(".")
        if parts[0] != "servey" or len(parts) == 1:
            continue
        assert LEVELS[parts[1]] <= LEVELS[own], f"{path.name} imports {module}"
        if own in TRANSPORTS:
            assert parts[1] == own or parts[1] not in TRANSPORTS, f"{path.name} imports another transport, {module}"


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in KERNEL], ids=lambda path: path.name)
def test_the_kernel_needs_the_standard_library_and_pydantic_only(path):
    import sys

    outside = {module.partition(".")[0] for module in imported_by(path)} - set(sys.stdlib_module_names)
    assert outside <= KERNEL_MAY_USE


def test_no_module_takes_the_name_of_an_old_package():
    taken = {path.stem for path in PACKAGE.iterdir()}
    assert not taken & {"action", "trigger", "cache_control", "security", "event_channel"}


def test_rooms_stay_small():
    long = {path.name: len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
