"""What `servey sls` has written into a project."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = "serverless_servey"


def written(folder: Path) -> dict[str, str]:
    names = ["serverless.yml", *(f"{FOLDER}/{path.name}" for path in (folder / FOLDER).iterdir())]
    return {name: (folder / name).read_text(encoding="utf-8") for name in sorted(names)}


def loaded(folder: Path, name: str) -> Any:
    return yaml.safe_load((folder / FOLDER / f"{name}.yml").read_text(encoding="utf-8"))


def statements(folder: Path) -> list[dict[str, Any]]:
    role = loaded(folder, "resources")["Resources"]["ServeyRole"]["Properties"]
    return [each for policy in role["Policies"] for each in policy["PolicyDocument"]["Statement"]]
