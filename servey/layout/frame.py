"""What every page shows around its content: the stylesheet, and a header with the app's name and links to Servey's pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from servey.core.process import Process

FILES = Path(__file__).parent / "files"

CONSOLE = ("Actions", "Calls", "Jobs", "Schedules", "Channels", "Webhooks", "Cache", "Settings")
"""The pages for operators, in the order of the header; outside of development only they link to each other."""
DOCUMENTS = ("AsyncAPI", "Swagger UI", "ReDoc", "GraphiQL")
"""The pages that document an app."""
LOGIN = "Log in"
STYLE_PATH = "/_servey/style.css"

_MARK = (
    '<svg viewBox="0 0 20 20" aria-hidden="true"><rect width="20" height="20" rx="5" fill="currentColor" opacity=".18"/>'
    '<path d="M4.5 6.5h7M8 10h7.5M4.5 13.5h7" stroke="currentColor" stroke-width="2.2" stroke-linecap="round"/></svg>'
)
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http%3A%2F%2Fwww.w3.org%2F2000%2Fsvg' viewBox='0 0 20 20'%3E"
    "%3Crect width='20' height='20' rx='5' fill='%232f55c8'/%3E%3Cpath d='M4.5 6.5h7M8 10h7.5M4.5 13.5h7' "
    "stroke='white' stroke-width='2.2' stroke-linecap='round'/%3E%3C/svg%3E"
)


class Html(str):
    """Text that is HTML already; templates do not escape it."""

    def __html__(self) -> str:
        return str(self)


@cache
def stylesheet(*names: str) -> str:
    """Return the text of our style files; they are read once, when an app is created."""
    return "".join((FILES / f"{name}.css").read_text(encoding="utf-8") for name in names)


@dataclass(frozen=True)
class Frame:
    """What a page shows of the app around it.

    Shape: ``version`` is empty for visitors who need not know it; ``links`` are the paths of Servey's pages by label.
    """

    title: str
    version: str = ""
    root: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> str:
        """The path of the app."""
        return f"{self.root}/"

    def header(self, current: str = "") -> Html:
        """Return the header; ``current`` is the label of the page that shows it."""
        version = f" <small>{escape(self.version)}</small>" if self.version else ""
        brand = f'<a class="brand" href="{escape(self.home)}">{_MARK}<span>{escape(self.title)}{version}</span></a>'
        groups = [self._links(labels, current) for labels in (CONSOLE, DOCUMENTS)]
        login = self._links((LOGIN,), current).replace("<a ", '<a class="last" ', 1)
        links = '<span class="split"></span>'.join(filter(None, groups)) + login
        nav = f'<nav aria-label="Pages of Servey">{links}</nav>' if links else ""
        return Html(f'<header class="bar"><div>{brand}{nav}</div></header>')

    def _links(self, labels: tuple[str, ...], current: str) -> str:
        found = [label for label in labels if label in self.links]
        marks = {label: ' aria-current="page"' if label == current else "" for label in found}
        return "".join(f'<a href="{escape(self.links[each])}"{marks[each]}>{each}</a>' for each in found)


def frame_of(process: Process, scope: Scope, *, for_operator: bool = False) -> Frame:
    """Return the frame of a page; visitors in production see no links to the console."""
    root = str(scope.get("root_path", "")).rstrip("/")
    shows_console = for_operator or process.settings.is_dev
    links = {label: root + path for label, path in process.shipped.items() if shows_console or label not in CONSOLE}
    app = process.app
    is_public = not shows_console and not process.settings.serves_docs
    title = str(getattr(app, "title", process.settings.api_title))
    return Frame(title, "" if is_public else str(getattr(app, "version", "")), root, links)


def mount_style(router: APIRouter, prefix: str) -> None:
    """Add the stylesheet as a file, for templates that extend ``servey/layout.j2``."""
    text = stylesheet("frame", "page")

    async def style(request: Request) -> Response:
        headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(text, media_type="text/css", headers=headers)

    router.add_route(f"{prefix}{STYLE_PATH}", style, include_in_schema=False)


def head(style: str) -> Html:
    """Return the head elements of every page, with its styles as a ``<style>`` or a ``<link>`` element."""
    return Html(
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<link rel="icon" href="{_ICON}">\n{style}'
    )
