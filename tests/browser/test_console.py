"""The console as its users see it: a developer who calls an action, and an operator who repairs failed jobs."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit, visiting
from tests.browser.test_design import check
from tests.console.app import HOSTILE
from tests.serving import Server, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def parcels() -> Iterator[Server]:
    with serve("tests.console.app:app", factory=True) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, parcels: Server) -> Iterator[Visit]:
    with visiting(browser, parcels) as visit:
        yield visit


def enqueue(visit: Visit, number: int) -> None:
    httpx.post(visit.url + "/actions/deliver", json={"number": number}, headers={"Prefer": "respond-async"})


def test_an_action_is_called_over_every_transport(visit: Visit):
    page = visit.open("/_servey?q=weigh")
    visit.image("console-actions")
    page.get_by_role("link", name="weigh", exact=True).click()
    page.locator("[data-param=parcel] input").fill("7")
    answer, status = page.locator("#try-answer"), page.locator("#try-status")
    page.get_by_role("button", name="Send").click()
    expect(answer).to_have_text("700")
    expect(status).to_contain_text("200 OK in")
    visit.image("console-action")
    page.locator("select[name=way]").select_option("GraphQL")
    page.get_by_role("button", name="Send").click()
    expect(answer).to_contain_text('"weigh": 700')
    page.locator("select[name=way]").select_option("a tool (MCP)")
    page.get_by_role("button", name="Send").click()
    expect(answer).to_contain_text('"result": 700')
    page.locator("select[name=way]").select_option("a job")
    page.get_by_role("button", name="Send").click()
    expect(status).to_contain_text("202 Accepted")
    page.get_by_role("link", name="follow the job").click()
    expect(page.locator("h1")).to_have_text("weigh")
    expect(page.locator(".badge").first).to_have_text("done")
    expect(page.locator("pre")).to_contain_text("700")
    page.get_by_role("link", name=re.compile("^[0-9a-f]{32}$")).click()
    expect(page.locator("section.card h2").first).to_have_text("GET /actions/weigh")
    expect(page.locator("section.card h2").nth(1)).to_have_text("weigh")
    expect(page.locator(".steps").nth(1)).to_contain_text("cache")
    visit.image("console-trace")


def test_an_action_is_called_as_a_chosen_user(visit: Visit):
    page = visit.open("/_servey/actions/whose")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#try-status")).to_contain_text("401")
    page.locator("input[name=subject]").fill("ada")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#try-status")).to_contain_text("403")
    page.locator("input[name=scopes]").fill("parcels:read other")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#try-answer")).to_have_text('"ada"')


def test_a_test_event_is_seen_by_whoever_watches_the_channel(visit: Visit):
    page = visit.open("/_servey/channels/parcels")
    expect(page.locator("#live")).to_have_text("live")
    page.evaluate("window.isMarked = true")
    other = page.context.new_page()
    other.goto(f"{visit.url}/_servey/channels/parcels")
    other.get_by_label("Event as JSON").fill(json.dumps({"parcel": 7, "place": HOSTILE}))
    other.get_by_role("button", name="Publish").click()
    expect(other.get_by_role("status").filter(has_text="The event was published.")).to_be_visible()
    expect(page.locator("#live-content")).to_contain_text(HOSTILE)  # as text
    expect(page.locator(".tiles li").nth(1)).to_have_text("1published")
    assert page.evaluate("window.isMarked") is True
    for place in ("shelf 3", "door 12"):
        other.get_by_label("Event as JSON").fill(json.dumps({"parcel": 7, "place": place}))
        other.get_by_role("button", name="Publish").click()
        expect(page.locator("#live-content")).to_contain_text(place)
    visit.image("console-channel")
    page.get_by_role("link", name="Listen to it").click()
    expect(page.locator("#about h2")).to_have_text("parcels")
    page.get_by_role("link", name="in the console").click()
    expect(page).to_have_url(f"{visit.url}/_servey/channels/parcels")


def test_links_open_the_action_in_other_tools(visit: Visit):
    page = visit.open("/_servey/actions/weigh")
    page.get_by_role("link", name="in GraphiQL").click()
    expect(page.locator(".graphiql-query-editor .CodeMirror").first).to_contain_text("weigh", timeout=30_000)
    page = visit.open("/_servey/actions/weigh")
    page.locator("main").get_by_role("link", name="Swagger UI").click()
    expect(page.locator(".opblock.is-open")).to_contain_text("/actions/weigh", timeout=30_000)


def test_an_operator_finds_retries_and_drops_failed_jobs(visit: Visit):
    page = visit.open("/_servey/jobs")
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("main")).to_contain_text("No job waits")
    for number in range(12):
        enqueue(visit, number)
    # The page follows by itself.
    expect(page.locator("#changes tbody tr")).to_have_count(12)
    expect(page.get_by_text("Why they failed")).to_be_visible()
    expect(page.locator("main")).to_contain_text(HOSTILE)  # as text
    page.locator("details summary").click()
    visit.image("console-jobs")
    check(visit)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.locator("#changes tbody input[type=checkbox]").nth(0).check()
    page.locator("#changes tbody input[type=checkbox]").nth(1).check()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Drop chosen").click()
    expect(page.get_by_role("status").filter(has_text="2 jobs dropped")).to_be_visible()
    expect(page.locator("#changes tbody tr")).to_have_count(10)
    httpx.get(visit.url + "/actions/repair")
    page.get_by_label("all 10 that fit").check()
    page.get_by_role("button", name="Retry chosen").click()
    expect(page.get_by_role("status").filter(has_text="10 jobs enqueued again")).to_be_visible()
    expect(page.locator("main")).to_contain_text("No job waits")


def test_it_reads_without_javascript(browser: Browser, parcels: Server):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(parcels.url + "/_servey/actions/deliver")
    expect(page.locator("pre").first).to_contain_text("deliver(number: integer")
    expect(page.locator("main")).to_contain_text("curl -X POST")
    page.goto(parcels.url + "/_servey/jobs?state=dead")
    expect(page.locator("h1")).to_have_text("Jobs")
    context.close()
