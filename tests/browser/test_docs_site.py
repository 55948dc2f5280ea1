"""The search of the documentation's site finds what a reader types."""

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import quote_plus, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import browsing
from tests.serving import ROOT

SEARCHES = {
    "pagination": "docs/how-to.html#pagination-return-a-long-list-page-by-page",
    "N+1": "docs/graphql.html#batches",
    "dataloader": "docs/graphql.html#batches",
    "graceful shutdown": "docs/operating.html#graceful-shutdown",
    "cron": "docs/jobs.html#schedules-and-cron",
    "celery": "docs/from-servey-5.html",
    "background task": "docs/dependencies.html",
    "websocket": "docs/channels.html",
    "server-sent events": "docs/channels.html",
    "upload": "docs/how-to.html#upload-and-download-a-file",
    "rate limit": "docs/how-to.html#rate-limits-limit-how-often-a-client-calls",
    "sqlalchemy": "docs/tutorial/3-database.html",
    "sqlmodel": "docs/databases.html#sqlmodel",
    "django": "docs/databases.html#djangos-orm",
    "transaction": "docs/databases.html",
    "cors": "docs/rest.html#cors",
    "cookie": "docs/parts.html#where-a-token-comes-from",
    "jwt": "docs/authorization.html#keys",
    "api key": "docs/parts.html#api-keys-an-authorizer-of-your-own",
    "refresh token": "docs/users.html#registration-and-tokens-that-can-be-revoked",
    "password": "docs/users.html",
    "timeout": "docs/actions.html#timeouts",
    "retry": "docs/jobs.html#retries-and-dead-letters",
    "idempotency": "docs/jobs.html#enqueuing-a-job",
    "dead letter": "docs/jobs.html#retries-and-dead-letters",
    "webhook": "docs/jobs.html#webhooks",
    "prometheus": "docs/operating.html#metrics",
    "opentelemetry": "docs/operating.html#traces",
    "kubernetes": "docs/how-to.html#run-it-on-kubernetes",
    "heroku": "docs/how-to.html#run-it-on-fly-cloud-run-or-a-platform-that-sets-port",
    "systemd": "docs/how-to.html#run-it-with-systemd",
    "docker compose": "docs/operating.html#a-cluster-in-one-command",
    "lambda": "docs/aws.html",
    "etag": "docs/caching.html",
    "multi-tenancy": "docs/how-to.html#multi-tenancy-separate-tenants",
    "mcp": "docs/mcp.html",
    "openapi": "docs/rest.html#openapi",
    "pytest": "docs/testing.html",
    "environment variables": "docs/settings.html",
    "exception handler": "docs/errors.html",
    "lifespan": "docs/databases.html",
    "existing fastapi app": "docs/how-to.html",
    "sse": "docs/channels.html",
    "oidc": "docs/how-to.html#log-in-with-a-provider-openid-connect-oidc",
    "oauth": "docs/authorization.html",
    "google": "docs/how-to.html#log-in-with-a-provider-openid-connect-oidc",
    "email": "docs/how-to.html#send-e-mail",
    "download": "docs/how-to.html#upload-and-download-a-file",
    "migrations": "docs/databases.html#migrations",
    "zero downtime": "docs/how-to.html",
    "rolling update": "docs/how-to.html",
    "alerts": "docs/operating.html#metrics",
    "grafana": "docs/operating.html#metrics",
    "health check": "docs/operating.html#health",
    "logging": "docs/operating.html#the-log",
    "breakpoint": "docs/how-to.html#find-out-why",
    "tortoise": "docs/databases.html#tortoise-orm",
    "cache invalidation": "docs/caching.html#invalidation",
    "static files": "docs/pages.html#static-files",
    "csrf": "docs/pages.html#logging-in",
    "time zone": "docs/jobs.html#schedules-and-cron",
    "custom transport": "docs/how-to.html",
    "authorizer": "docs/parts.html#api-keys-an-authorizer-of-your-own",
    "ai agent": "docs/tutorial/9-clients-and-agents.html",
    "request id": "docs/rest.html#request-ids",
}
"""What a reader types, and the page or section that is among the first results."""


@pytest.fixture(scope="module")
def docs_site() -> Iterator[str]:
    """The URL of the built site."""
    subprocess.run([sys.executable, "-m", "website"], cwd=ROOT, check=True, capture_output=True)
    handler = functools.partial(_Quiet, directory=str(ROOT / ".site" / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def found(page: Page, words: str) -> list[str]:
    """The addresses of the first eight results of a search, without the words that the page highlights."""
    box = page.get_by_role("combobox", name="Search")
    box.fill("")
    expect(page.get_by_role("option")).to_have_count(0)
    box.fill(words)
    begin = page.locator(f"[role=option][href*='?h={quote_plus(words)}']").first
    expect(begin, f"'{words}' finds nothing").to_be_visible()
    hrefs = page.get_by_role("option").evaluate_all("links => links.slice(0, 8).map(link => link.href)")
    addresses = [urlsplit(href) for href in hrefs]
    return [each.path.strip("/") + (f"#{each.fragment}" if each.fragment else "") for each in addresses]


@pytest.mark.browser
@pytest.mark.timeout(180)
def test_the_search_finds_what_readers_type(browser: Browser, docs_site: str) -> None:
    with browsing.page_of(browser, base_url=docs_site) as page:
        page.goto("/docs/index.html")
        page.keyboard.press("/")
        results = {words: found(page, words) for words in SEARCHES}
    missed = {
        words: results[words]
        for words, wanted in SEARCHES.items()
        if not any(each.startswith(wanted) for each in results[words])
    }
    print(*missed.items(), sep="\n")
    assert missed == {}
