"""The look of the pages that Servey ships: one layout, no file besides, and nothing in them runs that is not ours."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from html import escape
from typing import TypeVar

from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from servey.web import header

__all__ = ["accepts_html", "escape", "page_headers", "shipped_page"]

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1.5rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-bottom: .3rem }
code, pre, kbd { font: 14px/1.5 ui-monospace, monospace }
pre { overflow-x: auto; padding: 1rem; border: 1px solid #8886; border-radius: 6px }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0 }
tr { border-bottom: 1px solid #8884 }
label { display: block; margin: .8rem 0 } label > span { display: block; font-weight: 600 }
input, select, button { font: inherit; padding: .35rem .5rem; box-sizing: border-box }
input:not([type=checkbox]), select { width: 100%; max-width: 26rem }
.error { color: #c22; font-weight: 600 } .quiet { opacity: .7 }
"""


def shipped_page(title: str, body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """A whole page of a title, which is text, and of a body, which is HTML."""
    nonce = secrets.token_urlsafe(16)
    content = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style nonce="{nonce}">{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    answer = HTMLResponse(content, status, headers={"Cache-Control": "no-store", **(headers or {})})
    return page_headers(answer, policy)


R = TypeVar("R", bound=Response)


def page_headers(answer: R, policy: str) -> R:
    """The same answer, which browsers take for nothing else and do not show inside of pages that the policy forbids.

    A header that the answer has already stays.
    """
    answer.headers.setdefault("Content-Security-Policy", policy)
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    answer.headers.setdefault("Referrer-Policy", "strict-origin-when-cross-origin")
    return answer


def accepts_html(scope: Scope) -> bool:
    """Whether a request comes from a browser that wants a page: programs do not ask for HTML by its name."""
    return "text/html" in (header(scope, b"accept") or "").lower()
