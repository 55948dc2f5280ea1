"""What comes fits the output schema, or the call fails: the JSON of a Response, and numbers that JSON does not have."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from pydantic import BaseModel, TypeAdapter, computed_field
from starlette.responses import JSONResponse

from servey import MCP_TOOL, WEB_GET, WEB_POST, Group, McpTrigger, Settings, action, create_app
from servey.core.errors import ConfigError
from servey.mcp.fits import misfit
from servey.testing import client


class Leaf(BaseModel):
    name: str
    size: float | None = None

    @computed_field
    def length(self) -> int:
        return len(self.name)


@dataclass
class Tree:
    kind: Literal["oak", "elm"]
    leaves: list[Leaf] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    pair: tuple[int, bool] = (1, True)
    parent: "Tree | None" = None
    height: float = None  # type: ignore[assignment]


given: list[Any] = []


@action(triggers=MCP_TOOL)
async def tree() -> Tree:
    return JSONResponse(given[-1])  # type: ignore[return-value]


@action(triggers=MCP_TOOL)
async def trees() -> list[Tree]:
    return JSONResponse(given[-1])  # type: ignore[return-value]


@action(triggers=MCP_TOOL)
async def mean(values: dict[str, float]) -> dict[str, float]:
    return {name: value if value else math.nan for name, value in values.items()}


@action(triggers=MCP_TOOL)
async def maybe(value: float) -> list[float | None]:
    return [value if value else math.inf, None]


def call(name: str, **arguments: Any) -> Any:
    with client(create_app(actions=[tree, trees, mean, maybe], settings=Settings(env="dev"))) as http:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        return http.post("/mcp", json=message).json()["result"]


OAK = {"kind": "oak", "leaves": [{"name": "a", "size": 1, "length": 1}], "parts": {"x": 2}, "pair": [1, True]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"parent": OAK, "leaves": [{"name": "b", "length": 1}]}, None),
        ({"height": None}, None),
        ({"kind": "fir"}, "kind fits"),
        ({"kind": None}, "kind"),
        ({"leaves": [{"name": 1, "length": 1}]}, "leaves[0].name"),
        ({"leaves": [{"name": "b"}]}, "leaves[0].length is missing"),
        ({"leaves": {}}, "leaves should be of type array"),
        ({"parts": {"x": "1"}}, "parts.x should be of type number"),
        ({"parts": {"x": True}}, "parts.x"),
        ({"pair": [1.5, True]}, "pair[0] should be of type integer"),
        ({"parent": {"kind": 3}}, "parent fits none of its types"),
    ],
)
def test_the_json_of_a_response_fits_the_schema_or_the_call_fails(change, problem, caplog):
    given[:] = [OAK | change]
    results = [call("tree")]
    given[:] = [[OAK, OAK | change]]
    results.append(call("trees"))
    if problem is None:
        assert [each["structuredContent"] for each in results] == [OAK | change, {"result": [OAK, OAK | change]}]
        return
    assert [each["isError"] for each in results] == [True, True]
    assert problem.removesuffix(" fits") in caplog.text


def test_a_number_that_json_does_not_have_is_null_only_where_the_schema_says_so(caplog):
    assert call("mean", values={"a": 1})["structuredContent"] == {"a": 1.0}
    assert call("mean", values={"a": 1, "b": 0})["isError"] is True
    assert "a result that does not fit its output schema: b should be of type number" in caplog.text
    assert call("maybe", value=0)["structuredContent"] == {"result": [None, None]}


@action(triggers=McpTrigger("prompt"))
async def compare(teas: list[str], weights: dict[str, int] | None = None, note: str | list[str] = "") -> str:
    """Compare teas."""
    return f"{teas} {weights} {note!r}"


def test_lists_and_objects_of_prompts_are_json():
    with client(create_app(actions=[compare], settings=Settings(env="dev"))) as http:

        def post(method: str, **params: Any) -> Any:
            return http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json()

        def get(**arguments: str) -> Any:
            return post("prompts/get", name="compare", arguments=arguments)

        (listed,) = post("prompts/list")["result"]["prompts"]
        assert {each["name"]: each.get("description") for each in listed["arguments"]} == {
            "teas": "As JSON.",
            "weights": "As JSON.",
            "note": None,
        }
        text = get(teas='["a", "b"]', weights='{"a": 1}', note="[1]")["result"]["messages"][0]["content"]["text"]
        assert text == "['a', 'b'] {'a': 1} '[1]'"
        assert "teas: Input should be a valid list" in get(teas="a, b")["error"]["message"]


@action(triggers=McpTrigger("resource", uri="shop://{kinds}/{note}"))
async def choose(kinds: list[str], note: str) -> str:
    return f"{kinds} {note}"


@pytest.mark.parametrize(
    ("uri", "text"),
    [("shop://a/x,y", "['a'] x,y"), ("shop://a,b%2Cc/%C3%A4", "['a', 'b,c'] ä"), ("shop://,/n", "['', ''] n")],
)
def test_commas_separate_the_items_of_a_list_in_an_address(uri, text):
    with client(create_app(actions=[choose], settings=Settings(env="dev"))) as http:
        message = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}}
        assert http.post("/mcp", json=message).json()["result"]["contents"][0]["text"] == text


shop = Group(prefix="/shop", tags=("shop",))


@shop.action(triggers=WEB_GET)
async def stock() -> int:
    return 3


@action(triggers=WEB_POST, tags=("agents", "x"))
async def order() -> int:
    return 4


@action(triggers=WEB_POST, tags=("agents",), hidden=["mcp"])
async def hidden() -> None: ...


@action(tags=("agents",))
async def internal() -> None: ...


@action(triggers=WEB_POST)
async def other() -> None: ...


def tools_of(**settings: Any) -> list[str]:
    app = create_app(actions=[stock, order, hidden, internal, other], settings=Settings(env="dev", **settings))
    with client(app) as http:
        listed = http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        return [each["name"] for each in listed.json()["result"]["tools"]] if listed.status_code == 200 else []


def test_tags_of_actions_and_groups_make_tools():
    assert tools_of() == []
    assert tools_of(mcp_tags="shop") == ["stock"]
    assert tools_of(mcp_tags="shop,agents") == ["stock", "order"]
    assert tools_of(mcp_tags="shop", mcp="off") == []
    assert tools_of(mcp="web") == ["stock", "order", "other"]
    with pytest.raises(ConfigError, match="SERVEY_MCP_TAGS: no action has the tag 'shpo'"):
        tools_of(mcp_tags="shpo")


class Sum(BaseModel):
    left: "Sum | Product | None" = None
    size: float | None = None


class Product(BaseModel):
    left: "Sum | Product | None" = None
    size: float | None = None


def test_a_tree_of_unions_takes_no_longer_than_its_size():
    schema = TypeAdapter(Sum).json_schema(mode="serialization")
    tree: Any = {"left": None, "size": None}
    for _ in range(25):
        tree = {"left": tree, "size": 1.0}
    assert misfit(schema, tree, schema["$defs"]) is None  # it would take an hour
