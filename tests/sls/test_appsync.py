"""The AppSync API that `servey sls --appsync` defines: its schema and its resolvers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import pytest
from graphql import GraphQLError, build_schema, graphql_sync
from pydantic import BaseModel, ConfigDict

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    BatchInvoker,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
    websocket_event_channel,
)
from servey.aws import build_handler
from servey.sls.appsync import appsync_resources
from servey.sls.stack import build_stack
from servey.testing import token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
SCALARS = "".join(f"scalar {name}\n" for name in ("AWSDate", "AWSDateTime", "AWSTime", "AWSJSON"))
"""The scalars and directives that AppSync defines."""


class Colour(Enum):
    RED = "#f00"
    BLUE = "#00f"


class Paint(BaseModel):
    model_config = ConfigDict(extra="forbid")

    main_colour: Colour
    price: Decimal = Decimal("1.50")
    made_at: datetime | None = None
    others: list[Colour] = []


async def labels_of(colours: list[Colour]) -> list[str]:
    return [f"{colour.name} wall" for colour in colours]


@dataclass
class Wall:
    """A wall."""

    id: UUID
    paint: Paint
    side_length: int = 1

    @action
    async def area(self, times: int = 1) -> int:
        return self.side_length**2 * times

    @action(
        batch_invoker=BatchInvoker(labels_of, max_batch_size=3, arg_extractor=lambda wall: [wall.paint.main_colour])
    )
    async def label(self) -> str:
        raise AssertionError("the batch is asked")


def wall(number: int, paint: Paint) -> Wall:
    return Wall(UUID(int=number), paint, side_length=number)


@action(triggers=WEB_GET)
async def walls(count: int, paint: Paint, kind: Literal["in", "out"] = "in") -> list[Wall]:
    """Some walls."""
    return [wall(number, paint) for number in range(1, count + 1)]


@action(triggers=WEB_POST, access_control=ScopeAccessControl("paint"))
async def repaint(colours: list[Colour | None], at: datetime, authorization: Authorization) -> dict[str, Any]:
    assert at == datetime(2026, 1, 1, tzinfo=UTC)
    return {"by": authorization.subject_id, "colours": [each and each.value for each in colours]}


@action(triggers=WEB_GET)
async def anything(number: int) -> Wall | Paint | None:
    return None


@pytest.fixture(scope="module")
def app():
    settings = Settings(env="prod", jwt_secret_key=SECRET, appsync=True)
    channels = [websocket_event_channel("painted", Paint)]
    return create_app(actions=[walls, repaint, anything], channels=channels, settings=settings)


@pytest.fixture(scope="module")
def resources(app):
    problems: list[str] = []
    made, outputs = appsync_resources(app, problems)
    assert problems == []
    assert list(outputs) == ["ServeyAppsyncUrl"]
    return made


@pytest.fixture(scope="module")
def ask(app, resources):
    """A simulation of AppSync after its developer guide: from the schema to the function and back."""
    handler = build_handler(app)
    schema = build_schema(SCALARS + resources["ServeyAppsyncSchema"]["Properties"]["Definition"])

    def resolve_with(resolver: dict[str, Any]) -> Any:
        def resolve(source: Any, info: Any, **arguments: Any) -> Any:
            event = {
                "arguments": arguments,
                "source": source,
                "request": {"headers": info.context},
                "info": {"parentTypeName": info.parent_type.name, "fieldName": info.field_name},
            }
            if "MaxBatchSize" not in resolver:
                return handler(event, None)
            (answer,) = handler([event], None)
            if "errorMessage" in answer:
                raise GraphQLError(answer["errorMessage"])
            return answer["data"]

        return resolve

    for each in resources.values():
        if each["Type"] == "AWS::AppSync::Resolver":
            properties = each["Properties"]
            schema.type_map[properties["TypeName"]].fields[properties["FieldName"]].resolve = resolve_with(properties)

    def asked(query: str, **headers: str) -> Any:
        found = graphql_sync(schema, query, context_value=headers)
        return {"data": found.data} if not found.errors else {"errors": [error.message for error in found.errors]}

    yield asked
    handler.close()


def test_the_schema_is_in_words_that_appsync_has(resources):
    assert (
        resources["ServeyAppsyncSchema"]["Properties"]["Definition"]
        == """\
type Query {
  anything(number: Int!): AWSJSON
  walls(count: Int!, kind: InOrOut, paint: PaintInput!): [Wall!]!
}

type Mutation {
  repaint(at: AWSDateTime!, colours: [Colour]!): AWSJSON!
}

enum Colour {
  BLUE
  RED
}

enum InOrOut {
  in
  out
}

type Paint {
  madeAt: AWSDateTime
  mainColour: Colour!
  others: [Colour!]!
  price: String!
}

input PaintInput {
  madeAt: AWSDateTime
  mainColour: Colour!
  others: [Colour!]
  price: String
}

type Wall {
  area(times: Int): Int!
  id: ID!
  label: String!
  paint: Paint!
  sideLength: Int!
}
"""
    )


def test_fields_of_the_query_and_of_its_objects(ask):
    paint = '{mainColour: RED, price: "2.00", others: [BLUE]}'
    query = f"{{ walls(count: 2, paint: {paint}) {{ sideLength area(times: 3) label paint {{ mainColour price others }} }} }}"
    painted = {"mainColour": "RED", "price": "2.00", "others": ["BLUE"]}
    assert ask(query) == {
        "data": {
            "walls": [
                {"sideLength": 1, "area": 3, "label": "RED wall", "paint": painted},
                {"sideLength": 2, "area": 12, "label": "RED wall", "paint": painted},
            ]
        }
    }


def test_a_guarded_mutation(app, ask):
    query = 'mutation { repaint(colours: [RED, null, BLUE], at: "2026-01-01T00:00:00Z") }'
    assert ask(query)["errors"][0].endswith("(unauthenticated)")
    token = token_for(app, Authorization("ada", frozenset({"paint"})))
    answer = ask(query, authorization=f"Bearer {token}")
    assert answer == {"data": {"repaint": {"by": "ada", "colours": ["#f00", None, "#00f"]}}}


def test_bad_input_says_why(ask):
    bad = ask('{ walls(count: 1, paint: {mainColour: RED, price: "free"}) { sideLength } }')
    assert bad["errors"] == ["paint.price: Input should be a valid decimal (invalid_params)"]


def test_a_batch_is_as_large_as_its_invoker_takes(resources):
    resolver = resources["ServeyAppsyncWallLabel"]["Properties"]
    assert resolver["MaxBatchSize"] == 3
    assert "BatchInvoke" in resolver["Code"]
    assert "MaxBatchSize" not in resources["ServeyAppsyncWallArea"]["Properties"]


def test_appsync_may_call_this_function_and_nothing_else(resources):
    (policy,) = resources["ServeyAppsyncRole"]["Properties"]["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["lambda:InvokeFunction"]
    assert statement["Resource"] == [{"Fn::GetAtt": ["ServeyLambdaFunction", "Arn"]}]


def test_it_is_made_where_it_is_asked_for(app):
    settings = Settings(env="prod", jwt_secret_key=SECRET)
    plain = build_stack(create_app(actions=[walls], settings=settings))
    assert not any("AppSync" in each["Type"] for each in plain.resources.values())
    assert any("AppSync" in each["Type"] for each in build_stack(app).resources.values())


def test_the_end_of_its_key():
    moment = datetime(2027, 1, 1, tzinfo=UTC)
    settings = Settings(env="prod", jwt_secret_key=SECRET, appsync=True, appsync_key_expires=moment)
    made, _ = appsync_resources(create_app(actions=[walls], settings=settings), [])
    assert made["ServeyAppsyncKey"]["Properties"]["Expires"] == int(moment.timestamp())


def test_without_a_query_there_is_no_api():
    problems: list[str] = []
    appsync_resources(
        create_app(actions=[repaint], settings=Settings(env="prod", jwt_secret_key=SECRET, appsync=True)), problems
    )
    assert problems == ["AppSync requires at least one query, but no action has a GET trigger; add one to an action"]
