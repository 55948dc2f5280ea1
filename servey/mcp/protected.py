"""How a client that is refused learns where to obtain a token: challenges, and the metadata of the protected resource.

Source: RFC 9728; RFC 6750 section 3; MCP 2025-11-25, "Authorization".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.types import Scope

from servey.core.errors import ActionError, Forbidden, Unauthenticated
from servey.core.settings import Settings
from servey.http.web import bearer_token, header
from servey.mcp.offers import Offers

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class TokenRequired(Unauthenticated):
    """A call needs a valid token, with scopes that its access rule names."""

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__()
        self.scopes = scopes


class InsufficientScope(Forbidden):
    """The caller's token lacks scopes that the access rule names."""

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__()
        self.scopes = scopes


@dataclass(frozen=True)
class ProtectedResource:
    """The MCP endpoint as an OAuth resource.

    Shape: ``path`` is that of the endpoint inside of the app.
    """

    settings: Settings
    path: str

    @property
    def metadata_path(self) -> str:
        """The path of the metadata inside of the app."""
        return WELL_KNOWN + self.path

    @property
    def authorization_server(self) -> str | None:
        """The URL of the issuer of tokens, or None if it is not known: then there is no metadata."""
        return _url_or_none(self.settings.jwt_issuer)

    def metadata(self, scope: Scope, offers: Offers, name: str) -> dict[str, Any]:
        """Return the metadata. The resource is the required audience if that is a URL, else the endpoint's address."""
        return {
            "resource": _url_or_none(self.settings.jwt_audience) or _address(scope, self.path),
            "resource_name": name,
            "authorization_servers": [self.authorization_server],
            "scopes_supported": offers.scopes,
            "bearer_methods_supported": ["header"],
        }

    def challenge(self, error: ActionError, scope: Scope) -> str | None:
        """Return the ``WWW-Authenticate`` of a refused request, or None if a token would not help."""
        facts: dict[str, str] = {}
        if isinstance(error, InsufficientScope):
            facts["error"] = "insufficient_scope"
        elif not isinstance(error, Unauthenticated):
            return None
        elif bearer_token(scope, self.settings) is not None:
            facts["error"] = "invalid_token"
        if isinstance(error, TokenRequired | InsufficientScope) and error.scopes:
            facts["scope"] = " ".join(error.scopes)
        if self.authorization_server is not None:
            facts["resource_metadata"] = _address(scope, self.metadata_path)
        return " ".join(["Bearer", ", ".join(f'{name}="{value}"' for name, value in facts.items())]).strip()


def _url_or_none(text: str | None) -> str | None:
    return text if text is not None and text.startswith(("https://", "http://")) else None


_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+", re.ASCII)


def _address(scope: Scope, path: str) -> str:
    given = header(scope, b"host") or ""
    host = given if _HOST.fullmatch(given) else "localhost"
    # A mount may have parameters in its path: what a client has written there must not end a quoted string.
    return f"{scope['scheme']}://{host}{quote(scope.get('root_path', '').rstrip('/'))}{path}"
