"""Every page that Servey ships, on phones and large screens, light and dark: nothing overflows, fails or asks another host."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit, visiting
from tests.serving import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

WIDTHS = (390, 1280, 2560)
TOUR = [
    "/_servey",
    "/_servey/actions/place_order",
    "/_servey/calls",
    "/_servey/calls/trace?id=a-request",
    "/_servey/jobs",
    "/_servey/schedules",
    "/_servey/channels",
    "/_servey/channels/chat",
    "/_servey/webhooks",
    "/_servey/cache",
    "/_servey/cache/sales",
    "/_servey/settings",
    "/login",
    "/asyncapi",
    "/nowhere",
]
SITE = ["/guest-book", "/back-office", "/guest-book/of/nobody"]
VIEWERS = {"/docs": ".opblock", "/redoc": ".redoc-wrap h1", "/graphiql": ".graphiql-editors .CodeMirror"}
"""Pages whose content is another project's, with what that shows once it has loaded."""
FIRST_VIEW_BYTES = 60_000


@pytest.fixture
def shop(browser: Browser, tour: Server) -> Iterator[Visit]:
    # A request whose trace there is to see, with a job.
    answer = httpx.get(f"{tour.url}/actions/sales", headers={"X-Request-ID": "a-request", "Prefer": "respond-async"})
    assert answer.status_code == 202
    with visiting(browser, tour) as visit:
        yield visit


def problems_on(page: Any, *, outside: str | None = None) -> list[str]:
    """What axe finds on a page, except inside of an element."""
    options, context = None, None
    if outside is not None:  # its headings are there too
        options, context = {"rules": {"page-has-heading-one": {"enabled": False}}}, {"exclude": [[outside]]}
    found = Axe().run(page, context=context, options=options).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def check(visit: Visit, *, outside: str | None = None) -> None:
    page = visit.page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{width} px wide, {scheme}: {wide} px too wide"
            assert problems_on(page, outside=outside) == [], f"{width} px wide, {scheme}"


@pytest.mark.parametrize("path", TOUR)
def test_a_page_of_ours(shop: Visit, path: str):
    page = shop.open(path)
    page.wait_for_load_state("networkidle")
    assert page.title()
    assert page.locator("h1").count() == 1
    icon = page.locator('link[rel="icon"]').get_attribute("href")
    assert icon is not None
    assert icon.startswith("data:image/svg+xml")
    assert 0 < sum(shop.sizes) < FIRST_VIEW_BYTES
    check(shop)


@pytest.mark.parametrize("path", SITE)
def test_a_page_of_a_project(visit: Visit, path: str):
    visit.open(path)
    if path != "/guest-book/of/nobody":  # a template of its own
        check(visit)


@pytest.mark.parametrize("path", VIEWERS)
def test_a_page_around_a_viewer(shop: Visit, path: str):
    page = shop.open(path)
    page.locator(VIEWERS[path]).first.wait_for()
    check(shop, outside="#page")


@pytest.mark.parametrize("path", VIEWERS)
def test_a_viewer_follows_the_colour_scheme(shop: Visit, path: str):
    page = shop.page
    page.emulate_media(color_scheme="dark")
    shop.open(path)
    page.locator(VIEWERS[path]).first.wait_for()
    shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + +each, 0)"
    assert page.evaluate(shade) < 150
    page.emulate_media(color_scheme="light")
    assert page.evaluate(shade) > 600


def test_each_page_leads_to_the_others(shop: Visit):
    page = shop.open("/")
    expect(page).to_have_url(shop.url + "/_servey")
    paths = page.locator("header nav a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert {"/_servey", "/docs", "/redoc", "/graphiql", "/asyncapi", "/login"} <= set(paths)
    for path in paths:
        shop.open(path)
        shown = page.locator("header nav a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
        assert shown == paths, path
        assert page.locator("header nav a[aria-current=page]").get_attribute("href") == path


def test_nothing_moves_while_a_page_loads(shop: Visit):
    shop.page.add_init_script(
        "window.shifted = 0; new PerformanceObserver(list => { for (const each of list.getEntries()) window.shifted += each.value })"
        ".observe({ type: 'layout-shift', buffered: true })"
    )
    for path in TOUR:
        page = shop.open(path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.shifted") < 0.02, path
