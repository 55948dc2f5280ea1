"""Secrets of parameters are not shown, under whatever name and in whatever shape a client sends them."""

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, Json, SecretStr

from servey import action
from servey.observability.redaction import HIDDEN, MORE, MOST_VALUES, shown_params


class Login(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str
    password: SecretStr = Field(alias="pw")


class Card(BaseModel):
    number: str


class Sum(BaseModel):
    left: "Sum | Product | None" = None
    password: SecretStr | None = None


class Product(BaseModel):
    left: "Sum | Product | None" = None
    size: float | None = None


@action
def add(tree: Sum) -> None:
    """Take a tree of unions."""


@action
def take(
    login: Login | None = None,
    pair: tuple[str, SecretStr] = ("", SecretStr("")),
    named: dict[Annotated[str, Field(pattern="^k")], SecretStr] | None = None,
    by_day: dict[str, list[Login]] | None = None,
    card: Annotated[Card | None, Field(json_schema_extra={"writeOnly": True})] = None,
    text: Json[Login] | None = None,
) -> None:
    """Take secrets in many shapes."""


@action
def keep(login: Login | Card, sizes: dict[str, int], anything: Any, pairs: list[tuple[int, str]]) -> None:
    """Take what is not secret."""


def shown(action: Any, params: Any) -> Any:
    return json.loads(shown_params(action.servey_action, params))


@pytest.mark.parametrize(
    "params",
    [
        {"login": {"name": "ada", "pw": "hunter2"}},
        {"login": {"name": "ada", "password": "hunter2"}},  # by the name of the field
        {"login": {"name": "ada", "passwrod": "hunter2"}},
        {"login": [{"name": "ada", "pw": "hunter2"}]},
        {"login": json.dumps({"name": "ada", "pw": "hunter2"})},
        {"Login": {"name": "ada", "pw": "hunter2"}},
        {"pair": ["ada", "hunter2"]},
        {"pair": ["ada", "bob", "hunter2"]},
        {"named": {"k1": "hunter2"}},
        {"named": {"x": "hunter2"}},
        {"by_day": {"monday": [{"name": "ada", "password": "hunter2"}]}},
        {"card": {"number": "hunter2"}},
        {"named": {"k1": {"api_key": "hunter2"}}},
        {"text": json.dumps({"name": "ada", "pw": "hunter2"})},
    ],
    ids=str,
)
def test_a_secret_is_hidden(params):
    assert "hunter2" not in shown_params(take.servey_action, params)


def test_what_is_no_secret_is_shown():
    params = {
        "login": {"name": "ada", "number": "7"},
        "sizes": {"s": 1},
        "anything": {"deep": [{"er": 1}]},
        "pairs": [[1, "a"]],
    }
    assert shown(keep, params) == params
    assert shown(keep, {"sizes": "x", "pairs": [["x", 2]], "login": None}) == {
        "sizes": HIDDEN,  # no object; it may be the JSON of one
        "pairs": [["x", 2]],
        "login": None,
    }


def test_what_is_nested_too_deeply_has_only_its_names():
    deep: Any = []
    for _ in range(2000):
        deep = [deep]
    assert shown(keep, {"anything": deep}) == {"anything": HIDDEN}


@pytest.mark.parametrize(
    "name", ["password", "passwd", "newPassword", "token", "accessToken", "client_secret", "apiKey"]
)
def test_a_text_is_a_secret_by_its_name(name):
    assert shown(keep, {"anything": [{name: "hunter2", "max_tokens": 5, "tokens": ["a"]}]}) == {
        "anything": [{name: HIDDEN, "max_tokens": 5, "tokens": ["a"]}]
    }


def test_of_many_values_the_first_are_shown():
    params = {"anything": [[1, 2], {"a": 1, "b": 2}], "sizes": {"s": 1}}
    assert json.loads(shown_params(keep.servey_action, params, 6)) == {
        "anything": [[1, 2], {"a": 1, MORE: MORE}],
        MORE: MORE,
    }
    text = shown_params(keep.servey_action, {"anything": list(range(100_000)), "pairs": [[1, "a"]]})
    assert len(json.loads(text)["anything"]) == MOST_VALUES
