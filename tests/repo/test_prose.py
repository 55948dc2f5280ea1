"""The pages are written in plain English, as a linter of prose and the project's own list of words see it."""

import itertools
import re

import pytest
from proselint.checks import __register__
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

from tests.serving import ROOT
from website.__main__ import pages

CHECKS = DEFAULT | {"checks": DEFAULT["checks"] | {"typography": False, "lexical_illusions": False}}
"""All checks but those of typographic quotes, which a keyboard does not have, and of repetitions, which tables are."""

PLAIN = {
    r"utiliz\w+": "use",
    r"in order to": "to",
    r"(?:simply|easily|obviously|just)": "leave it out: what is easy for one reader is not for another",
    r"can not": "cannot",
    r"log-in|sign-in": "login, or the verb log in",
    r"e-mails": "email messages",
    r"holds? good": "apply, is true",
    r"(?:is|are|be) told(?! apart)": "name what is sent, and to whom",
    r"stands? (?:for itself|in the way)": "say what happens",
    r"thereby|hereby|therein|thereof|whereby": "two sentences",
    r"aforementioned|respectively": "name it again",
    r"blacklist\w*|whitelist\w*": "allowlist, blocklist",
    r"sanity check\w*": "check",
    r"e\.?g\. etc": "one of the two",
    r"a number of": "how many",
    r"leverag\w+": "use",
    r"seamless\w*|blazing\w*|powerful|robust": "say what it does",
}
"""Words that the pages do without, and what to write instead."""

EXEMPT = {"CHANGELOG.md", "docs/reference/api.md"}
"""Pages whose text is generated, or is a record."""


def prose_of(text: str) -> str:
    """The text of a page without code, comments, tables' bars, headings and the targets of links, line by line."""
    text = re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    numbers = itertools.count()  # so that no two of them look like a word that is written twice
    text = re.sub(r"`[^`\n]*`", lambda code: f"C{next(numbers)}", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"^(#|\| ?-|\$).*$", "", text, flags=re.MULTILINE).replace("|", ";")


@pytest.fixture(scope="module")
def linter() -> dict:
    CheckRegistry().register_many(__register__)
    return CHECKS


@pytest.mark.parametrize("page", sorted(set(map(str, pages())) - EXEMPT))
def test_a_page_is_plain(page, linter):
    prose = prose_of((ROOT / page).read_text(encoding="utf-8"))
    found = [f"{page}:{each.pos[0]}: {each.check_result.message}" for each in LintFile(page, prose).lint(linter)]
    lines = prose.splitlines()
    for pattern, instead in PLAIN.items():
        for number, line in enumerate(lines, 1):
            found += [
                f"{page}:{number}: '{each[0]}': {instead}" for each in re.finditer(rf"\b(?:{pattern})\b", line, re.I)
            ]
    assert found == []


def test_words_to_avoid_are_found(linter):
    assert [each.check_result.message for each in LintFile("page", "It is a very old test.").lint(linter)] != []
    assert all(re.search(pattern, "We utilized it") is None for pattern in list(PLAIN)[1:])
    assert prose_of("a `just`\n```\njust\n```\n[b](just)\n") == "a C0\n\n\n\n[b]\n"
