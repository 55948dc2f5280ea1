"""Check what type checkers see: mypy and pyright report an error on each line of these files that has the comment
``# E:``, and on no other line; pyright finds a known type for every public name of the package.

Run it by ``python3 dev.py types``.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FILES = sorted(path for path in HERE.glob("*.py") if path.name != "check.py")
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "VIRTUAL_ENV": str(BIN.parent), "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}


def output_of(*command: str, cwd: Path = HERE) -> str:
    """Run a tool of the virtual environment."""
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, encoding="utf-8", check=False).stdout


def expected() -> set[str]:
    """``FILE:LINE`` of each line that must be rejected."""
    return {
        f"{path.name}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "# E:" in line
    }


def by_mypy() -> dict[str, str]:
    """Each rejected line with mypy's message."""
    found = output_of("mypy", "--strict", "--no-error-summary", "--no-pretty", *(path.name for path in FILES))
    matches = re.findall(r"^(\w+\.py:\d+)(?::\d+)?: error: (.*)$", found, re.MULTILINE)
    if not matches:
        sys.exit(f"mypy reports no errors; it printed:\n{found}")
    return dict(matches)


def by_pyright() -> dict[str, str]:
    """Each rejected line with pyright's message."""
    found = json.loads(output_of("pyright", "--outputjson", *(path.name for path in FILES)))
    return {
        f"{Path(each['file']).name}:{each['range']['start']['line'] + 1}": each["message"]
        for each in found["generalDiagnostics"]
        if each["severity"] == "error"
    }


def incomplete_types() -> list[str]:
    """The public names whose types are not completely known."""
    found = json.loads(output_of("pyright", "--verifytypes", "servey", "--ignoreexternal", "--outputjson"))
    complete = found["typeCompleteness"]
    if complete["completenessScore"] == 1 and complete["exportedSymbolCounts"]["withKnownType"]:
        return []
    return [
        f"{each['name']}: {problem['message']}"
        for each in complete["symbols"]
        if not each["isTypeKnown"] and each["isExported"]
        for problem in each["diagnostics"]
    ] or [f"score {complete['completenessScore']}"]


def main() -> int:
    """Print every difference; the exit code is 1 if there is one."""
    problems = []
    for checker, found in (("mypy", by_mypy()), ("pyright", by_pyright())):
        problems += [f"{line}: {checker} accepts it" for line in sorted(expected() - found.keys())]
        problems += [f"{line}: {checker} rejects it: {found[line]}" for line in sorted(found.keys() - expected())]
    problems += incomplete_types()
    print("\n".join(problems) or f"typing_tests: {len(expected())} errors, as expected; every public name has a type")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
