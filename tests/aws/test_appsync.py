"""Fields of AppSync: single, in batches, of an object; as the bearer of the request's token."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from servey import (
    WEB_GET,
    WEB_POST,
    Authorization,
    BatchInvoker,
    NotFound,
    ScopeAccessControl,
    Settings,
    action,
    create_app,
)
from servey.aws import build_handler
from servey.aws.appsync import FieldFailed
from servey.testing import token_for

SECRET = "a-secret-of-more-than-32-bytes-for-tests"


class Kind(Enum):
    even = "e"
    odd = "o"


ASKED: list[list[int]] = []


async def halves_of(values: list[int]) -> list[Any]:
    ASKED.append(values)
    return [ValueError("negative") if value < 0 else value // 2 for value in values]


@dataclass
class NumberStats:
    the_value: int
    kind: Kind = Kind.even

    @action
    async def factorial_of(self, plus: int = 0) -> int:
        if self.the_value < 0:
            raise NotFound("no factorial")
        made = 1
        for number in range(2, self.the_value + 1):
            made *= number
        return made + plus

    @action(
        batch_invoker=BatchInvoker(halves_of, max_batch_size=2, arg_extractor=lambda stats: [stats.the_value]),
        access_control=ScopeAccessControl("root"),
    )
    async def half_of(self) -> int:
        raise AssertionError("the batch is asked")


@action(triggers=WEB_GET)
def number_stats(some_value: int) -> NumberStats:
    return NumberStats(some_value, Kind.odd if some_value % 2 else Kind.even)


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def guarded(authorization: Authorization) -> str | None:
    return authorization.subject_id


@action(triggers=WEB_GET)
async def fails() -> int:
    raise RuntimeError("secret text")


@pytest.fixture(scope="module")
def app():
    return create_app(actions=[number_stats, guarded, fails], settings=Settings(env="prod", jwt_secret_key=SECRET))


@pytest.fixture(scope="module")
def handler(app):
    handler = build_handler(app)
    yield handler
    handler.close()


def event(parent: str, field: str, *, source: Any = None, token: str | None = None, **arguments: Any) -> dict[str, Any]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    info = {"parentTypeName": parent, "fieldName": field, "variables": {}, "selectionSetList": []}
    return {"arguments": arguments, "identity": None, "source": source, "request": {"headers": headers}, "info": info}


def test_a_field_of_the_query(handler):
    assert handler(event("Query", "numberStats", someValue=3), None) == {"theValue": 3, "kind": "odd"}


def test_a_field_of_an_object_gets_its_source(handler):
    source = handler(event("Query", "numberStats", someValue=4), None)
    source = {**source, "kind": "e"}
    assert handler(event("NumberStats", "factorialOf", source=source, plus=1), None) == 25


def test_a_batch_gives_one_answer_for_each_in_their_order(handler):
    batch = [event("NumberStats", "factorialOf", source={"theValue": value}) for value in (3, -1, 4, 0)]
    assert handler(batch, None) == [
        {"data": 6},
        {"errorMessage": "no factorial", "errorType": "not_found"},
        {"data": 24},
        {"data": 1},
    ]


def test_what_one_caller_asks_of_a_batch_invoker_is_asked_in_one_go(app, handler):
    ASKED.clear()
    token = token_for(app, Authorization("ada", frozenset({"root"})))
    values = (3, -1, 4, 0, "three")
    batch = [event("NumberStats", "halfOf", source={"theValue": value}, token=token) for value in values]
    anonymous = event("NumberStats", "halfOf", source={"theValue": 8})
    missing = event("NumberStats", "nothing", source={"theValue": 8})
    other = event("NumberStats", "factorialOf", source={"theValue": 3})
    answers = handler([anonymous, *batch, missing, other], None)
    assert [answer.get("data", answer.get("errorType")) for answer in answers] == [
        *("unauthenticated", 1, "internal", 2, 0, "invalid_params", "not_found", 6),
    ]
    assert ASKED == [[3, -1], [4, 0]]


def test_a_batch_of_one_is_a_batch(handler):
    assert handler([event("NumberStats", "factorialOf", source={"theValue": 3})], None) == [{"data": 6}]


def test_the_access_rule_holds(app, handler):
    with pytest.raises(FieldFailed, match="unauthenticated"):
        handler(event("Mutation", "guarded"), None)
    with pytest.raises(FieldFailed, match="forbidden"):
        handler(event("Mutation", "guarded", token=token_for(app, Authorization("ada"))), None)
    with pytest.raises(FieldFailed, match="unauthenticated"):
        handler(event("Mutation", "guarded", token="not.a.token"), None)
    boss = token_for(app, Authorization("boss", frozenset({"root"})))
    assert handler(event("Mutation", "guarded", token=boss), None) == "boss"


@pytest.mark.parametrize(
    ("parent", "field", "said"),
    [
        ("Query", "nothing", r"No action answers the field 'Query.nothing' \(not_found\)"),
        ("Other", "factorialOf", "not_found"),
        ("Query", "factorialOf", "not_found"),
        ("Query", "numberStats", "some_value: Field required"),
        ("Query", "fails", r"Internal Server Error \(internal\)"),
    ],
)
def test_what_fails_says_why(handler, parent, field, said):
    with pytest.raises(FieldFailed, match=said):
        handler(event(parent, field), None)
