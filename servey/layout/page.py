"""Servey's own pages: one self-contained HTML document with a strict Content-Security-Policy."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from html import escape
from typing import TypeVar

from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from servey.http.web import header
from servey.layout.frame import Frame, head, stylesheet

__all__ = ["LIVE", "PLAIN", "VIEWER", "accepts_html", "escape", "page_headers", "policy_of", "shipped_page"]

PLAIN = "style-src 'nonce-{nonce}'; img-src data:; form-action 'self'"
"""The policy of a page without scripts."""
LIVE = "style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; form-action 'self'"
"""The policy of a page with a script of ours."""
VIEWER = (
    "script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; child-src blob:; form-action 'self'"
)
"""The policy of Swagger UI, ReDoc and GraphiQL: they add inline styles, and ReDoc creates a worker from a blob."""
_ALWAYS = "default-src 'none'; {policy}; base-uri 'none'; frame-ancestors 'none'"


def shipped_page(
    frame: Frame,
    title: str,
    content: str,
    *,
    kind: str = "",
    current: str = "",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    styles: Sequence[str] = ("frame", "page"),
    more_head: str = "",
    scripts: Sequence[str] = (),
    start: str = "",
    policy: str = PLAIN,
) -> HTMLResponse:
    """Return a complete page.

    Shape: ``title`` is text, ``content`` and ``more_head`` are HTML; ``kind`` is the class of its main element;
    ``current`` is its label in the header; ``scripts`` are URLs, ``start`` is JavaScript that runs after them; ``policy``
    are directives of the Content-Security-Policy, in which ``{nonce}`` is the nonce of styles and scripts.
    """
    nonce = secrets.token_urlsafe(16)
    style = f'{more_head}<style nonce="{nonce}">{stylesheet(*styles)}</style>'
    loads = "".join(f'<script src="{escape(url)}" nonce="{nonce}"></script>\n' for url in scripts)
    if start:
        loads += f'<script nonce="{nonce}">{start}</script>\n'
    full_title = title if title == frame.title else f"{title} · {frame.title}"
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
{head(style)}
<title>{escape(full_title)}</title>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
{frame.header(current)}
<main id="main" class="{escape(kind)}">
{content}
</main>
{loads}</body>
</html>
"""
    answer = HTMLResponse(text, status, headers={"Cache-Control": "no-store", **(headers or {})})
    return page_headers(answer, policy_of(policy, nonce))


def policy_of(policy: str, nonce: str) -> str:
    """Return the Content-Security-Policy with these directives, and none for what they do not name."""
    return _ALWAYS.format(policy=policy.format(nonce=nonce))


R = TypeVar("R", bound=Response)


def page_headers(answer: R, policy: str) -> R:
    """Add the security headers of pages to a response; existing headers are kept."""
    answer.headers.setdefault("Content-Security-Policy", policy)
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    answer.headers.setdefault("Referrer-Policy", "strict-origin-when-cross-origin")
    return answer


def accepts_html(scope: Scope) -> bool:
    """Whether the client is a browser: its Accept header names text/html."""
    return "text/html" in (header(scope, b"accept") or "").lower()
