"""Prints the table of calls by transports when the tests of it have run."""

import pytest

MATRIX = pytest.StashKey[dict[str, dict[str, str]]]()


@pytest.fixture
def record_outcome(request: pytest.FixtureRequest):
    matrix = request.config.stash.setdefault(MATRIX, {})

    def record(case: str, transport: str, outcome: str) -> None:
        matrix.setdefault(case, {})[transport] = outcome

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    matrix = config.stash.get(MATRIX, {})
    if not matrix:
        return
    columns = list(dict.fromkeys(name for row in matrix.values() for name in row))
    widths = [max(len(name), 15) for name in columns]
    first = max(map(len, matrix))
    terminalreporter.section("calls by transports")
    terminalreporter.write_line(
        "  ".join([" " * first, *(n.ljust(w) for n, w in zip(columns, widths, strict=True))]).rstrip()
    )
    for case, row in matrix.items():
        cells = [row.get(name, "-").ljust(width) for name, width in zip(columns, widths, strict=True)]
        terminalreporter.write_line("  ".join([case.ljust(first), *cells]).rstrip())
