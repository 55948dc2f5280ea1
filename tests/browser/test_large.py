"""A browser that shows the console of a large app stays small, also when its pages follow many changes."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import visiting
from tests.console.test_budgets import PAGES
from tests.serving import redis_server, run, serve

MOST_BYTES = 150_000_000
REFRESHES = 20

pytestmark = [pytest.mark.browser, pytest.mark.drill, pytest.mark.timeout(900)]


def heap_of(session: Any) -> int:
    """The bytes of JavaScript objects, those that wait to be collected too."""
    found = session.send("Performance.getMetrics")["metrics"]
    return int(next(each["value"] for each in found if each["name"] == "JSHeapUsedSize"))


def memory_of(session: Any) -> int:
    """The bytes of the largest renderer process, its share of what processes share."""
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [each["id"] for each in processes if each["type"] == "renderer"]
    return max(map(_own_bytes, renderers))


def _own_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_a_browser_stays_small_with_100_000_jobs(browser: Browser):
    with redis_server() as redis:
        run("-m", "tests.console.large", redis.url, "large", timeout=600)
        env = {"SERVEY_ENV": "prod", "SERVEY_REDIS_URL": redis.url, "SERVEY_NAMESPACE": "large"}
        with (
            serve("tests.console.large:app", factory=True, **env) as server,
            visiting(browser, server) as visit,
        ):
            login = {"username": "root", "password": "open sesame"}
            token = httpx.post(f"{server.url}/login", data=login).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            page = visit.page
            page.set_extra_http_headers(headers)
            session = page.context.new_cdp_session(page)
            system = browser.new_browser_cdp_session()
            session.send("Performance.enable")
            found = {}
            for path in PAGES:
                visit.open(f"/_servey{path}")
                found[path] = (heap_of(session), memory_of(system))
            visit.open("/_servey/jobs")
            expect(page.locator("#live")).to_have_text("live")
            rows = page.locator("#changes tbody tr")
            for _ in range(REFRESHES):
                first = rows.first.get_by_role("checkbox").get_attribute("value")
                # Somebody else drops the first job, and the page follows.
                httpx.post(f"{server.url}/_servey/jobs", data={"change": "drop", "id": first}, headers=headers)
                expect(page.locator(f'input[value="{first}"]')).to_have_count(0)
            session.send("HeapProfiler.collectGarbage")  # the browser collects what it may use before it takes more
            found["after many changes"] = (heap_of(session), memory_of(system))
            print({path: tuple(round(each / 1e6, 1) for each in sizes) for path, sizes in found.items()})
            assert {path: each for path, each in found.items() if max(each) > MOST_BYTES} == {}
