"""GraphiQL in a real browser, without internet access: schema, authorized queries and subscriptions."""

import re
import shutil

import httpx
import pytest

from servey import Authorization
from servey.graphql.ide import ASSETS
from servey.testing import token_for
from tests.graphql.graphql_client import SECRET, graphql_client
from tests.graphql.served import app as served_app
from tests.graphql.served import who
from tests.serving import serve


def test_the_page_and_its_files():
    with graphql_client(who) as ask:
        page = ask.http.get("/graphiql")
        assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'nonce-")
        assert page.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://", page.text.replace("http://www.w3.org", ""))
        for name, media_type in ASSETS.items():
            file = ask.http.get(f"/_servey/graphiql/{name}")
            assert (file.status_code, file.headers["content-type"].partition(";")[0]) == (200, media_type)
            assert name in page.text
        assert ask.http.get("/_servey/graphiql/__init__.py").status_code == 404


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium")
    return found


@pytest.fixture(scope="module")
def page():
    from playwright.sync_api import sync_playwright

    with serve("tests.graphql.served:app", factory=True, JWT_SECRET_KEY=SECRET) as server, sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--headless"])
        made = browser.new_page(viewport={"width": 1400, "height": 900})
        made.url_of_server = server.url  # type: ignore[attr-defined]
        made.requested, made.page_errors = [], []  # type: ignore[attr-defined]
        made.on("request", lambda request: made.requested.append(request.url))  # type: ignore[attr-defined]
        made.on("pageerror", lambda error: made.page_errors.append(str(error)))  # type: ignore[attr-defined]
        made.on("console", lambda line: made.page_errors.append(line.text) if line.type == "error" else None)  # type: ignore[attr-defined]
        yield made
        browser.close()


def write(page, editor: str, text: str) -> None:
    """Type a text into one of the page's editors."""
    page.locator(f"{editor} .CodeMirror").first.evaluate("(element, text) => element.CodeMirror.setValue(text)", text)


def shown(page) -> str:
    return page.locator(".result-window .CodeMirror").first.evaluate("element => element.CodeMirror.getValue()")


def run_and_expect(page, pattern: str) -> None:
    page.get_by_role("button", name=re.compile("Execute query|Stop query")).click()
    page.wait_for_function(
        "pattern => { const found = document.querySelector('.result-window .CodeMirror');"
        " return found && new RegExp(pattern).test(found.CodeMirror.getValue()) }",
        arg=pattern,
        timeout=20_000,
    )


@pytest.mark.browser
@pytest.mark.timeout(120)
def test_it_works_in_a_browser(page):
    url = page.url_of_server
    page.goto(f"{url}/graphiql")
    page.wait_for_selector(".graphiql-query-editor .CodeMirror", timeout=30_000)
    write(page, ".graphiql-query-editor", "{ who }")
    run_and_expect(page, '"who": null')
    token = token_for(served_app(), Authorization("ada"))
    page.get_by_role("button", name="Headers").click()
    page.evaluate(
        "text => [...document.querySelectorAll('.graphiql-editor-tool .CodeMirror')].at(-1).CodeMirror.setValue(text)",
        '{"Authorization": "Bearer ' + token + '"}',
    )
    run_and_expect(page, '"who": "ada"')
    write(page, ".graphiql-query-editor", "subscription { count(upto: 3) { number twice } }")
    run_and_expect(page, '"twice": 4')
    page.get_by_role("button", name=re.compile("Show Documentation Explorer", re.IGNORECASE)).click()
    page.wait_for_selector("text=Root Types")
    assert {httpx.URL(asked).host for asked in page.asked if not asked.startswith(("data:", "blob:"))} == {"127.0.0.1"}
    assert page.page_errors == []
