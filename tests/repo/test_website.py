"""The site of the documentation has every page, and a reader gets to every page."""

import re
import tomllib
from collections.abc import Iterator

from tests.serving import ROOT
from website.__main__ import LINK, files_linked_from, pages

CONFIGURATION = tomllib.loads((ROOT / "website" / "zensical.toml").read_text(encoding="utf-8"))["project"]


def paths_of(entries: list[dict]) -> Iterator[str]:
    """The pages of a navigation, in order."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from paths_of(value)


def test_the_navigation_has_every_page_once():
    listed = list(paths_of(CONFIGURATION["nav"]))
    assert sorted(listed) == sorted(str(path) for path in pages())


def test_in_a_clone_every_page_is_two_clicks_from_the_readme():
    reached, begun = {"README.md"}, {"README.md"}
    for _ in range(2):
        begun = {
            str((ROOT / name).parent.joinpath(target).resolve().relative_to(ROOT))
            for name in begun
            for target in LINK.findall((ROOT / name).read_text(encoding="utf-8"))
            if target.endswith(".md")
        }
        reached |= begun
    assert {str(path) for path in pages()} - reached == set()


def test_what_pages_link_to_is_on_the_site():
    found = set().union(*(files_linked_from(page) for page in pages()))
    assert ROOT / "docs" / "images" / "docs-page.png" in {ROOT / path for path in found}


def test_the_site_needs_no_other_host():
    for path in (ROOT / "website").rglob("*.html"):
        assert not re.search(r'src="(https?:)?//|data-md-component="source"', path.read_text(encoding="utf-8"))
    assert CONFIGURATION["theme"]["font"] is False
    assert set(CONFIGURATION["plugins"]) == {"search", "mkdocstrings"}


def test_every_public_name_is_in_the_api_reference():
    import servey

    listed = re.findall(r"^::: servey\.(\w+)$", (ROOT / "docs/reference/api.md").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(servey.__all__)
