"""Generated calls: what comes fits the schemas of the tools, and nothing crashes."""

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import pytest
from pydantic import BaseModel, Field, SecretStr
from typing_extensions import TypedDict

from servey import MCP_TOOL, NotFound, Settings, action, create_app
from servey.testing import client
from tests.routers.generated import any_json


class Color(Enum):
    RED = "red"
    BLUE = 7


@dataclass
class Leaf:
    at: datetime
    color: Color = Color.RED
    weight: Annotated[float, Field(ge=0, le=10)] | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field("Rex", alias="dog name", max_length=5)


class Tree(BaseModel):
    leaves: list[Leaf] = []
    children: list["Tree"] = []
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


class Loose(TypedDict, total=False):
    a: int
    b: dict[str, list[bool]]


@action(triggers=MCP_TOOL)
async def tree(root: Tree, more: dict[str, Leaf] | None = None) -> Tree:
    return Tree(children=[root], leaves=list((more or {}).values()))


@action(triggers=MCP_TOOL)
async def scalars(
    a: int, b: float, c: bool, d: str, e: date, f: timedelta, g: UUID, h: int, i: Literal["x", 3], j: SecretStr
) -> tuple[int, float, bool, str, date, timedelta, UUID, Decimal, Literal["x", 3], SecretStr]:
    return a, b, c, d, e, f, g, Decimal(h) / 8, i, j


@action(triggers=MCP_TOOL)
async def anything(value: Any = None, loose: Loose = {}, either: int | list[str] | None = None) -> Any:  # noqa: B006
    return [value, loose, either]


@action(triggers=MCP_TOOL)
async def sets(numbers: set[int], pair: tuple[int, str], table: dict[int, float]) -> dict[str, Any]:
    return {"numbers": numbers, "pair": pair, "table": table}


@action(triggers=MCP_TOOL)
async def stream(count: Annotated[int, Field(ge=0, le=5)], leaf: Leaf) -> AsyncIterator[Leaf | None]:
    for n in range(count):
        yield leaf if n % 2 else None


@action(triggers=MCP_TOOL)
def optional(found: bool, leaf: Leaf) -> Leaf | None:
    return leaf if found else None


@action(triggers=MCP_TOOL)
async def fails(code: int, detail: Any = None) -> int:
    raise NotFound(str(detail)[:200])


@dataclass
class Shelf:
    names: list[str] = field(default_factory=list)

    @action(triggers=MCP_TOOL)
    async def count(self, at_least: int = 0) -> int:
        return max(len(self.names), at_least)


TOOLS = [tree, scalars, anything, sets, stream, optional, fails, Shelf.count]


class Given:
    """Values that fit a JSON schema."""

    def __init__(self, rng: random.Random, defs: Any) -> None:
        self.rng = rng
        self.defs = defs

    def value(self, schema: Any, depth: int = 0) -> Any:
        rng = self.rng
        if "$ref" in schema:
            return self.value(self.defs[schema["$ref"].rpartition("/")[2]], depth)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.value(rng.choice(schema[key]), depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        make = getattr(self, schema.get("type", "anything"))
        return make(schema, depth + 1)

    def anything(self, schema: Any, depth: int) -> Any:
        while True:
            made = any_json(self.rng)
            try:
                json.dumps(made, allow_nan=False, ensure_ascii=False).encode()
            except ValueError:  # it is no JSON
                continue
            return made

    def null(self, schema: Any, depth: int) -> None:
        return None

    def boolean(self, schema: Any, depth: int) -> bool:
        return self.rng.random() < 0.5

    def integer(self, schema: Any, depth: int) -> int:
        return self.rng.randint(schema.get("minimum", -(2**70)), schema.get("maximum", 2**70))

    def number(self, schema: Any, depth: int) -> float:
        return self.rng.uniform(schema.get("minimum", -1e30), schema.get("maximum", 1e30))

    def string(self, schema: Any, depth: int) -> str:
        rng = self.rng
        moment = datetime(2000, 1, 1) + timedelta(seconds=rng.randint(0, 10**9))
        if "pattern" in schema:
            return str(rng.randint(-1000, 1000))
        match schema.get("format"):
            case "date":
                return moment.date().isoformat()
            case "date-time":
                return moment.isoformat() + rng.choice(["", "Z", "+02:00"])
            case "duration":
                return f"P{rng.randint(0, 99)}DT{rng.randint(0, 23)}H"
            case "uuid":
                return str(UUID(int=rng.getrandbits(128)))
        return "".join(rng.choice('ab "\\\n\u2028é😀<') for _ in range(rng.randint(0, schema.get("maxLength", 12))))

    def array(self, schema: Any, depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(each, depth) for each in schema["prefixItems"]]
        made = [self.value(schema.get("items", {}), depth) for _ in range(self.rng.randint(0, max(3 - depth, 0)))]
        return list(dict.fromkeys(made)) if schema.get("uniqueItems") else made

    def object(self, schema: Any, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        made = {
            name: self.value(each, depth)
            for name, each in schema.get("properties", {}).items()
            if name in required or self.rng.random() < 0.6 - depth / 10
        }
        rest = schema.get("additionalProperties")
        if isinstance(rest, dict):
            made |= {str(self.rng.randint(0, 99)): self.value(rest, depth) for _ in range(self.rng.randint(0, 2))}
        return made


def broken(rng: random.Random, arguments: dict[str, Any]) -> Any:
    """The arguments with something else somewhere."""
    if not arguments or rng.random() < 0.2:
        return any_json(rng)
    name = rng.choice(list(arguments))
    match rng.randrange(3):
        case 0:
            return {**arguments, name: any_json(rng)}
        case 1:
            return {key: value for key, value in arguments.items() if key != name}
    return {**arguments, str(any_json(rng))[:50]: any_json(rng)}


def call_them(count: int, seed: int) -> None:
    rng, seen = random.Random(seed), dict[str, int]()
    app = create_app(actions=TOOLS, settings=Settings(env="dev"))
    with client(app) as http:

        def post(method: str, params: Any) -> Any:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            return http.post("/mcp", content=body, headers={"content-type": "application/json"}).json()

        tools = {tool["name"]: tool for tool in post("tools/list", {})["result"]["tools"]}
        checks = {name: jsonschema.Draft202012Validator(tool["outputSchema"]) for name, tool in tools.items()}
        for tool in tools.values():
            jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
            jsonschema.Draft202012Validator.check_schema(tool["outputSchema"])
        for _ in range(count):
            tool = rng.choice(list(tools.values()))
            given = Given(rng, tool["inputSchema"].get("$defs", {})).value(tool["inputSchema"])
            is_broken = rng.random() < 0.4
            arguments = broken(rng, given) if is_broken else given
            answer = post("tools/call", {"name": tool["name"], "arguments": arguments})
            shown = json.dumps([tool["name"], arguments])[:1000]
            if "error" in answer:
                outcome = {-32602: "no arguments", -32700: "no JSON"}[answer["error"]["code"]]
                assert is_broken and (outcome == "no JSON" or not isinstance(arguments, dict | None)), shown
            elif answer["result"].get("isError"):
                outcome = answer["result"]["content"][0]["text"].rpartition(" (")[2].removesuffix(")")
                assert outcome == "not_found" or (outcome == "invalid_params" and is_broken), (shown, answer)
            else:
                outcome = "result"
                checks[tool["name"]].validate(answer["result"]["structuredContent"])
            seen[outcome] = seen.get(outcome, 0) + 1
    assert seen.keys() == {"result", "invalid_params", "not_found", "no arguments", "no JSON"}
    assert seen["result"] > count / 3


def test_what_comes_fits_the_schemas():
    call_them(300, seed=1)


@pytest.mark.drill
@pytest.mark.timeout(600)
def test_what_comes_fits_the_schemas_ten_thousand_times():
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    call_them(10_000, seed)
