"""The names of an app's AWS resources, which contain its stage, and their limits.

Source: Lambda API reference, CreateFunction; S3 user guide, "Bucket naming rules"; CloudFront API reference.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from servey.core.errors import ConfigError
from servey.sls.model import Function, named

LONGEST_FUNCTION = 64
LONGEST_BUCKET = 63
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_BUCKET_STAGE = re.compile(r"[a-z0-9][a-z0-9-]*")
_ACCOUNT = "-" + 12 * "0"


def service_name() -> str:
    """Return the service name, derived from the folder's name. Errors: ConfigError if that is not possible."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", Path.cwd().name).strip("-").lower()
    if not name or not name[0].isalpha():
        raise ConfigError(
            f"the folder is named '{Path.cwd().name}', but a service name must start with a letter; rename the folder"
        )
    return name[:30].rstrip("-")


def name_problems(
    functions: Collection[Function], stages: Collection[str], serverless_yml: str, *, has_site: bool
) -> Iterator[str]:
    """Yield what is wrong with each stage: characters that names do not allow, names that get too long."""
    text = Path(serverless_yml).read_text(encoding="utf-8") if Path(serverless_yml).exists() else ""
    stage = re.search(r"^\s+stage:\s*['\"]?([\w-]+)", text, re.MULTILINE)
    service = re.search(r"^service:\s*['\"]?([\w-]+)", text, re.MULTILINE)
    name_of_service = service[1] if service else service_name()
    for each in stages or [stage[1] if stage else "dev"]:
        allowed, characters = (_BUCKET_STAGE, "a-z") if has_site else (_STAGE, "A-Z a-z")
        if not allowed.fullmatch(each):
            yield f"stage '{each}' must consist of the characters {characters} 0-9 and -, since names contain it; rename it"
        for function in functions:
            name = _physical(function.name, name_of_service, each)
            yield from _length_problem(each, f"the Lambda function '{name}'", name, LONGEST_FUNCTION)
        if has_site:
            name = _physical("site", name_of_service, each) + _ACCOUNT
            yield from _length_problem(each, f"the bucket '{name}'", name, LONGEST_BUCKET)


def _physical(name: str, service: str, stage: str) -> str:
    return named(name).replace("${self:service}", service).replace("${sls:stage}", stage)


def _length_problem(stage: str, what: str, name: str, most: int) -> Iterator[str]:
    if len(name) > most:
        room = most - len(name) + len(stage)
        what_to_do = f"use a stage of at most {room} characters" if room > 0 else "shorten the service or the action"
        yield f"stage '{stage}': the name of {what} has {len(name)} characters, the maximum is {most}; {what_to_do}"
