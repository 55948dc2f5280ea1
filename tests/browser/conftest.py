"""A headless Chromium that reaches the server under test and nothing else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests import browsing
from tests.serving import ROOT, Server, serve

IMAGES = ROOT / "docs" / "images"
TAKES_IMAGES = bool(os.environ.get("TAKE_SCREENSHOTS"))


@dataclass
class Visit:
    """A page of the browser, and what it did that it should not have."""

    page: Page
    url: str
    foreign: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def image(self, name: str) -> None:
        """Takes a picture for the docs, where that was asked for."""
        if TAKES_IMAGES:
            self.page.screenshot(path=str(IMAGES / f"{name}.png"), scale="css", caret="initial")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=20_000)  # other tests may run beside
    with browsing.browser() as made:
        yield made


@pytest.fixture(scope="session")
def site() -> Iterator[Server]:
    """The end-to-end example: a static site, an API, pages and a channel."""
    with serve(
        "servey.server:discovered_app", factory=True, cwd="examples/end_to_end", SERVEY_LOGIN_PASSWORD="open sesame"
    ) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, site: Server) -> Iterator[Visit]:
    """A new page without cookies; fails the test when it asked for something of another origin, or broke our policy."""
    with visiting(browser, site) as visit:
        yield visit


@contextmanager
def visiting(browser: Browser, site: Server) -> Iterator[Visit]:
    """A page of a browser that visits one server and nothing else."""
    context = browser.new_context(viewport={"width": 1100, "height": 720})
    page = context.new_page()
    page.set_default_timeout(20_000)
    visit = Visit(page, site.url)
    page.on("response", lambda response: visit.sizes.append(int(response.headers.get("content-length", 0))))

    def only_ours(route: Route) -> None:
        if route.request.url.startswith((site.url, "data:", "blob:")):
            route.continue_()
        else:
            visit.foreign.append(route.request.url)
            route.abort()

    context.route("**/*", only_ours)
    page.on("pageerror", lambda error: visit.problems.append(str(error)))
    page.on(
        "console", lambda message: "Content Security Policy" in message.text and visit.problems.append(message.text)
    )
    yield visit
    context.close()
    assert visit.foreign == []
    assert visit.problems == []
