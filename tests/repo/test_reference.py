"""The reference pages agree with the code: what is generated, and what is written by hand."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from servey.core.queues import STATES, UNFINISHED
from servey.core.settings import Settings
from servey.core.settings.sources import names_of
from servey.http import close_codes
from servey.ws.frames import ClientFrameType
from tests.repo.test_docs import page, table_rows
from tests.serving import ROOT
from website import reference

PACKAGE = ROOT / "servey"


@pytest.mark.parametrize("name", reference.GENERATED)
def test_what_is_generated_is_up_to_date(name):
    text = (ROOT / reference.GENERATED[name][0]).read_text(encoding="utf-8")
    assert text == reference.with_generated(name, text), "run: python3 dev.py docs --write"


def test_a_page_without_its_mark_is_an_error():
    with pytest.raises(ValueError, match="needs the line '<!-- generated: metrics -->' once"):
        reference.with_generated("metrics", "# A page\n")


def codes_used(*paths: Path) -> set[int]:
    """The close codes that these modules name."""
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    imported = re.findall(r"from servey\.http\.close_codes import (.+)", text)
    names = {*re.findall(r"close_codes\.([A-Z_]+)", text), *re.findall(r"[A-Z_]+", " ".join(imported))}
    found = {vars(close_codes)[name] for name in names - {"BY_ERROR_CODE"}}
    return found | (set(close_codes.BY_ERROR_CODE.values()) if "BY_ERROR_CODE" in names else set())


def test_every_close_code_is_in_its_table():
    rows = table_rows(page("reference/wire.md"), "code")
    channels = {int(code) for code, meaning, *_ in rows if meaning}
    graphql = {int(code) for code, _, meaning, _ in rows if meaning}
    assert channels == codes_used(*(PACKAGE / "ws").glob("*.py"))
    assert graphql == codes_used(PACKAGE / "graphql" / "sockets.py", PACKAGE / "http" / "hosts.py")
    frames = table_rows(page("channels.md"), "close code")
    assert {int(code) for code, _ in frames} == channels - {1008, 1011}


NO_HEADERS = {
    "no-store",
    "no-cache",
    "no-transform",
    "no-referrer",
    "content-language",
    "content-range",
    "accept-ranges",
}
"""Words of the form of a header that are values, or headers that a response of the user's own may have."""
PLAIN_HEADERS = {
    "accept",
    "allow",
    "authorization",
    "cookie",
    "etag",
    "expires",
    "host",
    "link",
    "location",
    "origin",
    "prefer",
    "vary",
}


def header_names() -> set[str]:
    """Every header that the code of the HTTP transports reads or writes, in lower case."""
    folders = [
        PACKAGE / name for name in ("core", "http", "routers", "calls", "ws", "graphql", "auth", "jobs", "layout")
    ]
    text = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    words = {word.lower() for word in re.findall(r'b?"([A-Za-z]+(?:-[A-Za-z]+)*)"', text)}
    known = re.compile(r"(x|content|accept|cache|last|if|sec|www|retry|set|referrer|preference|user|webhook)-[a-z-]+")
    return {word for word in words if known.fullmatch(word) or word in PLAIN_HEADERS} - NO_HEADERS


def test_every_header_is_in_its_table():
    text = page("reference/wire.md").partition("## Close codes")[0]
    listed = {
        name.lower()
        for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
        for name in re.findall("`([^`]+)`", row)
    }
    assert header_names() - listed - {"x-item-schema", "x-servey", "if-range"} == set()
    assert (
        listed - header_names() - {"traceparent", "sec-websocket-protocol", "set-cookie", "cookie", "expires"} == set()
    )


READ = re.compile(
    r"""environ(?:\.get\(|\.pop\(|\.setdefault\(|\[)\s*"(\w+)"|getenv\(\s*"(\w+)"|"(\w+)" (?:not )?in os\.environ"""
)
BETWEEN_OUR_PROCESSES = {"SERVEY_HOST_FILE"}


def test_every_environment_variable_is_in_a_table():
    read = {
        name
        for path in PACKAGE.rglob("*.py")
        for found in READ.findall(path.read_text(encoding="utf-8"))
        for name in found
        if name
    }
    settings = {name for key, field in Settings.model_fields.items() for name in names_of(key, field)}
    rows = table_rows(page("settings.md").partition("## Variables that are no settings")[2], "variable")
    others = {name for cell, _ in rows for name in re.findall("`(\\w+)`", cell)}
    assert read - settings - BETWEEN_OUR_PROCESSES == others
    assert [name for name in settings if f"`{name}`" not in page("settings.md")] == []


def test_every_variable_of_ours_in_the_docs_is_one():
    settings = {name for key, field in Settings.model_fields.items() for name in names_of(key, field)}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if path.name != "from-servey-5.md":
            named = set(re.findall(r"\bSERVEY_[A-Z0-9_]*[A-Z0-9]\b", path.read_text(encoding="utf-8")))
            named = {name.removesuffix("_FILE") if name not in settings else name for name in named}
            assert named - settings == set(), path.name


def test_every_frame_is_in_its_table():
    code = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "ws").glob("*.py"))
    sent = [*re.findall(r'server_frame\(\s*"(\w+)"', code), *re.findall(r'b\'{"type":"(\w+)"', code)]
    made = {*get_args(ClientFrameType), *sent}
    rows = re.findall(r"^\| (`\{.+?) \|", page("channels.md"), re.MULTILINE)
    assert {name for cell in rows for name in re.findall(r'"type": "(\w+)"', cell)} == made


def test_every_redis_key_is_in_its_table():
    text = "".join(
        path.read_text(encoding="utf-8")
        for name in ("auth", "jobs", "ws", "caching")
        for path in (PACKAGE / name).rglob("*.py")
    )
    made = set(re.findall(r'f"\{(?:self\.|queue\.)?_?prefix\}:?(\w+):', text))
    made |= set(re.findall(r'\bprefix \+ "(\w+)"', text)) | set(re.findall(r'f"\{(?:self\.)?prefix\}(\w+)"', text))
    made |= set(re.findall(r"\b(?:P|KEYS\[1\]) \.\. '(\w+)", text)) | set(STATES) - UNFINISHED
    listed = {
        name.removeprefix("servey:").partition(":")[0]
        for key, *_ in table_rows(page("reference/redis.md"), "key")
        for name in re.findall("`([^`]+)`", key)
    }
    assert listed == made


def functions_of(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_test_of_every_guarantee_exists():
    text = page("reference/guarantees.md")
    rows = re.findall(r"^\| (?!promise|---)(.+)\|$", text, re.MULTILINE)
    named = re.findall(r"\| `(tests/[\w/]+\.py)::(\w+)` \|$", text, re.MULTILINE)
    assert len(named) == len(rows) > 25
    for path, name in named:
        assert name in functions_of(ROOT / path), f"{path}::{name}"
