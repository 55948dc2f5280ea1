"""A real browser for tests: the system's Chromium, headless."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

WORDS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browser() -> Iterator[Any]:
    """A browser; skips the test where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("skipped: chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=WORDS)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def page_of(started: Any, *, allowed: tuple[str, ...] = (), **options: Any) -> Iterator[Any]:
    """A page of its own context; fails the test for an error in its console that is not ``allowed``, and for anything
    that it asks another host for.
    """
    context = started.new_context(**options)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: None if "//127.0.0.1:" in request.url else _outside(request.url, problems))
    try:
        yield page
        assert [each for each in problems if not any(text in each for text in allowed)] == []
    finally:
        context.close()


def _outside(url: str, problems: list[str]) -> None:
    if not url.startswith("data:"):
        problems.append(f"asked for {url}")
