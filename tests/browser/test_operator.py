"""An operator finds out why 1,000 jobs are dead, and mends it: over a real Redis, with a page that follows by itself."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit, visiting
from tests.serving import RedisServer, Server, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def depot(redis: RedisServer) -> Iterator[Server]:
    with serve("tests.console.depot:app", factory=True, SERVEY_REDIS_URL=redis.url, SERVEY_NAMESPACE="depot") as server:
        yield server


@pytest.fixture
def visit(browser: Browser, depot: Server) -> Iterator[Visit]:
    with visiting(browser, depot) as visit:
        visit.page.on("dialog", lambda dialog: dialog.accept())
        yield visit


def call(visit: Visit, action: str) -> None:
    httpx.post(f"{visit.url}/actions/{action}", timeout=60).raise_for_status()


def enqueue(visit: Visit, action: str, **params: int) -> str:
    answer = httpx.post(f"{visit.url}/actions/{action}", json=params, headers={"Prefer": "respond-async"})
    return str(answer.json()["id"])


def mark(page: Page) -> None:
    """Leave a mark that is gone once the page loads again: what changes beside it has changed by itself."""
    page.evaluate("window.isMarked = true")


def is_marked(page: Page) -> bool:
    return bool(page.evaluate("window.isMarked === true"))


def change_all(page: Page, number: int, change: str) -> None:
    """Do something with all jobs that fit the filters."""
    page.get_by_label(f"all {number} that fit the filters").check()
    page.get_by_role("button", name=f"{change} chosen").click()


def test_an_operator_mends_a_thousand_dead_jobs(visit: Visit):
    page = visit.open("/_servey/jobs")
    expect(page.locator("#live")).to_have_text("live")
    mark(page)
    call(visit, "ship-everything")
    given_up = page.get_by_role("link", name="1000 jobs were given up")
    expect(given_up).to_be_visible(timeout=60_000)
    assert is_marked(page)

    given_up.click()
    reasons = page.locator(".reasons li")
    expect(reasons).to_have_text(["990 The carrier does not answer", "10 The parcel has no address"])
    visit.image("console-reasons")

    call(visit, "call-the-carrier")
    page.get_by_role("link", name="The carrier does not answer").first.click()
    change_all(page, 990, "Retry")
    expect(page.get_by_role("status").filter(has_text="990 jobs enqueued again")).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    mark(page)
    queue = page.locator("tr").filter(has=page.get_by_role("link", name="default"))
    expect(queue.locator("[data-label=Queued]")).to_have_text("0", timeout=60_000)
    expect(queue.locator("[data-label=Running]")).to_have_text("0")
    given_up = page.get_by_role("link", name="10 jobs were given up")
    expect(given_up).to_be_visible()
    assert is_marked(page)

    given_up.click()
    expect(reasons).to_have_text(["10 The parcel has no address"])
    page.get_by_role("link", name="The parcel has no address").first.click()
    change_all(page, 10, "Drop")
    expect(page.get_by_role("status").filter(has_text="10 jobs dropped")).to_be_visible()
    expect(page.locator("main")).to_contain_text("No job was given up.")


def test_an_operator_cancels_a_job_and_pauses_a_queue_while_others_watch(visit: Visit):
    page = visit.open("/_servey/jobs")
    expect(page.locator("#live")).to_have_text("live")
    mark(page)
    job = enqueue(visit, "take-stock")
    row = page.locator("#changes tbody tr").filter(has_text=job)
    expect(row.locator(".badge")).to_have_text("running")
    expect(row).to_contain_text("7 of 9")
    expect(page.locator(".workers")).to_contain_text("runs 1 of")
    assert is_marked(page)

    watching = page.context.new_page()
    watching.goto(f"{visit.url}/_servey/jobs/{job}")
    expect(watching.locator(".head .badge")).to_have_text("running")
    mark(watching)
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name="Cancel chosen").click()
    expect(page.get_by_role("status").filter(has_text="1 job cancelled")).to_be_visible()
    expect(watching.locator(".head .badge")).to_have_text("cancelled")
    assert is_marked(watching)

    watching.goto(f"{visit.url}/_servey/jobs")
    expect(watching.locator("#live")).to_have_text("live")
    mark(watching)
    page.get_by_role("button", name="Pause default").click()
    queue = watching.locator("tr").filter(has=watching.get_by_role("link", name="default"))
    expect(queue.locator(".badge")).to_have_text("paused")
    job = enqueue(visit, "ship", number=1)
    expect(watching.locator("#changes tbody tr").filter(has_text=job).locator(".badge")).to_have_text("queued")
    page.get_by_role("button", name="Resume default").click()
    expect(queue.locator(".badge")).to_have_text("open")
    expect(watching.locator("#changes tbody tr").filter(has_text=job)).to_have_count(0)
    assert is_marked(watching)
