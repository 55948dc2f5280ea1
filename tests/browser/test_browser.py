"""Every page that Servey ships, and a project's own, in a real browser without internet: what people see and can do."""

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit, visiting
from tests.serving import serve

pytestmark = pytest.mark.browser


def test_an_action_runs_from_swagger(visit: Visit):
    page = visit.open("/docs")
    operation = page.locator(".opblock", has_text="/actions/list-entries")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    expect(operation.locator(".live-responses-table tbody .highlight-code").first).to_contain_text("The first entry")


def test_redoc_shows_the_actions(visit: Visit):
    page = visit.open("/redoc")
    expect(page.get_by_text("List the entries, newest first").first).to_be_visible()
    expect(page.get_by_text("API docs by Redocly")).to_be_attached()  # beside it stands a logo, which is not loaded


def test_the_index_leads_to_every_action(visit: Visit):
    page = visit.open("/_servey")
    row = page.locator("tr#list_entries")
    expect(row).to_contain_text("GET /actions/list-entries")
    expect(page.locator("tr#guest_book")).to_contain_text("page GET /guest-book")
    row.get_by_role("link", name="list_entries").click()
    page.get_by_role("link", name="open").first.click()
    expect(page.locator("body")).to_contain_text("The first entry")


def test_a_query_runs_in_graphiql(visit: Visit):
    page = visit.open("/graphiql")
    editor = page.locator(".graphiql-query-editor .CodeMirror, .query-editor .CodeMirror").first
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("{ listEntries(limit: 1) { name text } }")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".result-window, .graphiql-response").first).to_contain_text("listEntries", timeout=20_000)
    expect(page.locator(".result-window, .graphiql-response").first).to_contain_text("name")
    visit.image("graphiql")


def test_the_api_docs_list_what_the_readme_shows(browser: Browser):
    with (
        serve("servey.server:discovered_app", factory=True, cwd="examples/tour") as tour,
        visiting(browser, tour) as visit,
    ):
        page = visit.open("/docs")
        expect(page.locator("body")).to_contain_text("/actions/say-hello")
        visit.image("docs-page")


def test_the_studio_receives_what_is_published(visit: Visit):
    page = visit.open("/asyncapi")
    page.locator("button[data-channel=entries]").click()
    page.locator("#connect").click()
    page.locator("#subscribe").click()
    expect(page.locator("#events")).to_contain_text("subscribed")
    page.locator("#about textarea").fill('{"name": "Grace", "text": "from the studio"}')
    page.locator("#publish").click()
    expect(page.locator("#events")).to_contain_text("from the studio")
    visit.image("asyncapi-page")


def test_a_form_with_errors_and_then_rightly(visit: Visit):
    page = visit.open("/guest-book")
    page.locator("input[name=name]").fill("G")
    page.locator("input[name=text]").fill("<i>hello</i>")
    page.get_by_role("button", name="Sign").click()
    wrong = page.locator("label[data-field=name]")
    expect(wrong.get_by_role("alert")).to_contain_text("at least 2 characters")
    expect(page.locator("input[name=text]")).to_have_value("<i>hello</i>")
    visit.image("form-errors")
    page.locator("input[name=name]").fill("Grace")
    page.get_by_role("button", name="Send").click()
    expect(page).to_have_url(re.compile("/guest-book$"))
    expect(page.locator("#entries li").first).to_have_text("Grace <i>hello</i>")


def test_a_visitor_logs_in(visit: Visit):
    page = visit.open("/back-office")
    expect(page.get_by_role("heading")).to_have_text("Unauthorized")
    page.locator("input[name=username]").fill("root")
    page.locator("input[name=password]").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Wrong name or password")
    visit.image("login")
    page.locator("input[name=username]").fill("root")
    page.locator("input[name=password]").fill("open sesame")
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile("/back-office$"))
    expect(page.locator("body")).to_contain_text("You are root.")
    cookie = next(each for each in page.context.cookies() if each["name"] == "servey_token")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert page.evaluate("document.cookie") == ""


def test_an_error_is_a_page(visit: Visit):
    page = visit.open("/guest-book/of/nobody")
    expect(page.get_by_role("heading")).to_have_text("There is no such page")


def test_the_static_site_is_live(visit: Visit):
    page = visit.open("/")
    expect(page.locator("#state")).to_have_text("live")
    other = page.context.new_page()
    other.goto(visit.url + "/guest-book")
    other.locator("input[name=name]").fill("Linus")
    other.locator("input[name=text]").fill("from another window")
    other.get_by_role("button", name="Sign").click()
    expect(page.locator("#entries li").first).to_have_text("Linus: from another window")


def test_the_network_is_cut_off(visit: Visit):
    page = visit.open("/guest-book")
    assert page.evaluate("fetch('https://example.org/').then(() => 'reached', () => 'cut off')") == "cut off"
    assert visit.foreign == ["https://example.org/"]
    visit.foreign.clear()
