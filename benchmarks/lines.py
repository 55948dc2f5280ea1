"""Counts the lines of examples/conduit and of the same app by hand: `python -m benchmarks.lines`.

Blank lines, comments and docstrings do not count.
"""

import ast
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONDUIT = ROOT / "examples" / "conduit"
PEERS = ROOT / "benchmarks" / "peers"
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(text: str) -> int:
    """Return the number of lines of a Python module that contain code."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - _docstring_lines(ast.parse(text)))


def _docstring_lines(tree: ast.Module) -> set[int]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            found |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return found


def lines_of(files: Iterable[Path]) -> int:
    """Return the lines of code of Python modules, and the lines with text of other files, such as templates."""
    return sum(
        code_lines(file.read_text(encoding="utf-8"))
        if file.suffix == ".py"
        else sum(1 for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        for file in files
    )


def _files(folder: Path, names: str) -> list[Path]:
    return [folder / name for name in names.split()]


SHARED = _files(CONDUIT, "database.py views.py")
REST = SHARED + _files(CONDUIT, "accounts.py app.py actions/users.py actions/articles.py")
WHOLE = REST + _files(CONDUIT, "actions/graph.py actions/notifications.py event_channels.py templates/home.j2")
ROUTES = SHARED + _files(PEERS / "conduit_fastapi", "accounts.py base.py users.py articles.py")
REST_BY_HAND = ROUTES + _files(PEERS / "conduit_fastapi", "app.py create.py")
OPERATIONS = _files(PEERS / "conduit_by_hand", "operations.py")
BATCHES_BY_HAND = (
    ROUTES
    + _files(PEERS / "conduit_by_hand", "app.py create.py events.py graph.py jobs.py page.py")
    + _files(CONDUIT, "templates/home.j2")
)
ROWS = (
    ("REST alone", REST, "FastAPI", REST_BY_HAND),
    (
        "all of it: REST and GraphQL for every operation, batches, a job and an event after the commit, a websocket "
        "channel, a page, a schedule",
        WHOLE,
        "FastAPI, Strawberry, arq",
        BATCHES_BY_HAND + OPERATIONS,
    ),
    ("all of it, but by hand GraphQL has only the query with batches", WHOLE, "the same", BATCHES_BY_HAND),
)


def table() -> str:
    """Return the table of the example's README."""
    lines = ["| what | Servey | by hand | with | fewer |", "|---|---|---|---|---|"]
    for what, ours, peers, theirs in ROWS:
        mine, hand = lines_of(ours), lines_of(theirs)
        lines.append(f"| {what} | {mine} | {hand} | {peers} | {round(100 * (1 - mine / hand))} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
