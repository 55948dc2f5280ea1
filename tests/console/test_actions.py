"""``/_servey``: every action, with links that lead somewhere."""

import html
import json
import re

import pytest

from servey import (
    MCP_TOOL,
    WEB_GET,
    WEB_POST,
    Example,
    FixedRateTrigger,
    Group,
    Settings,
    WebPageTrigger,
    action,
    create_app,
    websocket_event_channel,
)
from servey.testing import client


@action(triggers=(WEB_GET, WebPageTrigger(), MCP_TOOL), examples=(Example("one", {"name": "<Ada>"}, "Hello <Ada>!"),))
async def say_hello(name: str) -> str:
    """Greet <somebody>."""
    return f"Hello {name}!"


@action(triggers=(WEB_POST, FixedRateTrigger(3600)))
async def tick() -> None: ...


BROWSER = {"Accept": "text/html"}
messages = websocket_event_channel("messages", str)


@pytest.fixture
def http(tmp_path):
    (tmp_path / "say_hello.j2").write_text("{{ model }}", encoding="utf-8")
    settings = Settings(
        env="dev", template_path=str(tmp_path), jwt_secret_key="a-secret-of-more-than-32-bytes-for-tests"
    )
    with client(create_app(actions=[say_hello, tick], channels=[messages], settings=settings)) as http:
        yield http


def test_it_lists_every_action(http):
    page = http.get("/_servey")
    assert page.status_code == 200
    for text in ("say_hello", "GET /actions/say-hello", "page GET /say-hello", "tick", "POST /actions/tick", "Greet &lt;somebody&gt;", "every 3600 s"):  # fmt: skip
        assert text in page.text, text


def test_filters(http):
    def found(query: str) -> list[str]:
        return re.findall(r'<tr id="(\w+)"', http.get(f"/_servey?{query}").text)

    assert found("") == ["say_hello", "tick"]
    assert found("q=GREET") == ["say_hello"]
    assert found("transport=schedule") == ["tick"]
    assert found("transport=MCP") == ["say_hello"]
    assert found("transport=page&access=everyone") == ["say_hello"]
    assert found("access=guarded") == []
    assert "No action fits" in http.get("/_servey?q=nothing").text
    assert "every group" not in http.get("/_servey").text


def test_actions_are_filtered_by_their_group():
    shop = Group(prefix="/shop", tags=("sales",))
    made = [shop.action(triggers=WEB_GET, name=name)(one) for name, one in (("price", _one), ("stock", _two))]
    settings = Settings(env="dev", jwt_secret_key="a-secret-of-more-than-32-bytes-for-tests")
    with client(create_app(actions=[*made, tick], settings=settings)) as http:
        for group, names in (("/shop", ["price", "stock"]), ("sales", ["price", "stock"]), ("none", [])):
            page = http.get("/_servey", params={"group": group}).text
            assert re.findall(r'<tr id="(\w+)"', page) == names, group
        assert "<option selected>sales</option>" in http.get("/_servey?group=sales").text


def _one() -> int:
    return 1


def _two() -> int:
    return 2


def test_an_action_has_every_way_in(http):
    page = http.get("/_servey/actions/say_hello")
    assert page.status_code == 200
    for text in (
        "GET /actions/say-hello",
        "servey call say_hello &#39;name=&lt;Ada&gt;&#39;",
        "curl",
        "/graphiql?query=",
    ):
        assert text in page.text, text
    assert "<Ada>" not in page.text


def test_the_call_of_a_tool_can_be_copied(http):
    page = http.get("/_servey/actions/say_hello").text
    assert '<code>MCP tool say_hello</code> <a href="#code">call it</a>' in page
    shown = html.unescape(re.search(r"<h3>MCP</h3>.*?<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[1])
    url, body = re.fullmatch(r"curl (\S+) \\\n  --json '(.*)'", shown).groups()
    assert http.post(url, json=json.loads(body)).json()["result"]["structuredContent"] == {"result": "Hello <Ada>!"}
    assert "MCP" not in http.get("/_servey/actions/tick").text


def test_its_links_lead_somewhere(http):
    pages = http.get("/_servey").text + http.get("/_servey/actions/say_hello").text
    links = set(re.findall(r'href="(/[^"#]*)', pages))
    assert {"/docs", "/redoc", "/say-hello", "/actions/say-hello?name=%3CAda%3E", "/login"} <= links
    for link in links:
        assert http.get(link.replace("&amp;", "&"), headers=BROWSER).status_code in (200, 422), link


def test_it_is_there_in_development_only(tmp_path):
    with client(create_app(actions=[tick], settings=Settings(docs=True))) as http:
        assert http.get("/_servey").status_code == 404
