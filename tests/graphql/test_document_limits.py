"""GraphQL: the limits on documents and operations, and the cache of documents."""

import gc
import sys
import tracemalloc

import pytest

from servey.graphql.execution.documents import BadDocument, Documents
from servey.graphql.execution.limits import LimitExceeded
from servey.graphql.mount import engine_of
from servey.graphql.schema.fields import fields_of
from tests.graphql.graphql_client import app_of, graphql_client
from tests.graphql.http_app import ACTIONS


def deep(levels: int) -> str:
    return "{ node " + "{ next " * (levels - 2) + "{ value }" + " }" * (levels - 2) + " }"


def doubled(levels: int) -> str:
    fragments = [
        f"fragment F{number} on Node {{ next {{ ...F{number + 1} }} n: next {{ ...F{number + 1} }} }}"
        for number in range(levels)
    ]
    return "{ node { ...F0 } } " + " ".join(fragments) + f" fragment F{levels} on Node {{ value }}"


BOMBS = {
    "depth of 16": deep(16),
    "depth of 1,000": deep(1000),
    "lists 900 deep": "{ node(value: " + "[" * 900 + "]" * 900 + ") { value } }",
    "10,000 aliases": "{" + " ".join(f"a{number}: node {{ value }}" for number in range(10_000)) + "}",
    "31 aliases": "{" + " ".join(f"a{number}: node {{ value }}" for number in range(31)) + "}",
    "one field 300 times": "{" + "node { value } " * 300 + "}",
    "one field in many fragments": "{" + "... on Query { node { value } } " * 200 + "}",
    "1 MB of tokens": "{" + "node " * 200_000 + "}",
    "5,000 directives": "{ node " + "@skip(if: false) " * 5000 + "{ value } }",
    "1,000 comments": "# x\n" * 3000 + "{ node { value } }",
    "a doubling of fragments": doubled(18),
}
INVALID = {
    "a circle of fragments": "{ node { ...A } } fragment A on Node { next { ...B } } fragment B on Node { next { ...A } }",
    "200 directives": "{ node " + "@skip(if: false) " * 200 + "{ value } }",
    "a spread of nothing": "{ ...A }",
    "an empty document": "fragment A on Node { value }",
    "a variable that is not there": "{ node(value: $x) { value } }",
}


@pytest.mark.parametrize("name", [*BOMBS, *INVALID])
def test_bombs_are_refused(ask, name):
    ask.data(deep(15))
    answer = ask((BOMBS | INVALID)[name])
    assert ask.last.status_code == 200
    assert answer["errors"][0]["extensions"]["code"] == ("limit_exceeded" if name in BOMBS else "invalid_document")
    assert "data" not in answer


def test_a_bomb_costs_no_more_than_a_few_ordinary_documents():
    documents = documents_of(*ACTIONS)

    def calls(text: str) -> int:
        count = 0

        def note(frame, event, argument):
            nonlocal count
            count += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            documents.get(text)
        except (LimitExceeded, BadDocument):
            pass
        finally:
            sys.setprofile(before)
        return count

    ordinary = calls("query($v: Int!) { node(value: $v) { value next { value next { value children { value } } } } }")
    costs = {name: round(calls(text) / ordinary, 1) for name, text in (BOMBS | INVALID).items()}
    assert {name: cost for name, cost in costs.items() if cost > 25} == {}


def test_a_batch_of_a_thousand_operations(ask):
    answer = ask.http.post("/graphql", json=[{"query": "{ node { value } }"}] * 1000)
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["extensions"]["code"] == "limit_exceeded"


def test_the_limits_can_be_set():
    with graphql_client(
        *ACTIONS, graphql_max_depth=3, graphql_max_aliases=1, graphql_max_tokens=50, graphql_max_nodes=5
    ) as ask:
        ask.data("{ node { next { value } } }")
        assert ask.error("{ node { next { next { value } } } }")["code"] == "limit_exceeded"
        ask.data("{ a: node { value } }")
        assert ask.error("{ a: node { value } b: node { value } }")["code"] == "limit_exceeded"
        assert ask.error("{ node { value } }" + " #\n" * 50)["code"] == "limit_exceeded"
        ask.data("{ nodes(count: 5) { value } }")
        assert ask.error("{ nodes(count: 6) { value } }")["code"] == "limit_exceeded"


def test_introspection_does_not_count_towards_depth(ask):
    from graphql import get_introspection_query

    ask.data(get_introspection_query(descriptions=True))


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("{ nodes(count: 10001) { value } }", 10_000),
        ("{ nodes(count: 10001) { value next { value } } }", 10_000),
        ("{ nodes(count: 20) { children(count: 50) { value } } }", 1000),
        ("{ nodes(count: 10) { children { children { children { children { value } } } } } }", 1000),
    ],
)
def test_the_budget_of_nodes_ends_an_operation(query, limit):
    with graphql_client(*ACTIONS, graphql_max_nodes=limit) as ask:
        answer = ask(query)
    assert ask.last.status_code == 200
    assert answer == {
        "data": None,
        "errors": [
            {
                "message": f"The response has more than {limit} objects; request fewer",
                "extensions": {"code": "limit_exceeded"},
            }
        ],
    }


def test_each_operation_has_its_own_budget(ask):
    for _ in range(3):
        assert len(ask.data("{ nodes(count: 9000) { value } }")["nodes"]) == 9000


@pytest.mark.parametrize(
    "variables",
    [{"v": "x"}, {"v": None}, {}, {"v": {"a": 1}}, {"v": [1]}, {"v": 1.5}, {"v": 2**70}, {"v": True}, {"v": [[[[1]]]]}],
    ids=str,
)
def test_variables_of_the_wrong_shape(ask, variables):
    error = ask.error("query($v: Int!) { node(value: $v) { value } }", variables)
    assert (ask.last.status_code, error["code"]) == (200, "invalid_params")
    assert "$v" in error["message"]


def documents_of(*actions) -> Documents:
    runtime = app_of(*actions).runtime
    return Documents(engine_of(runtime, fields_of(runtime)).schema, runtime.settings)


@pytest.mark.slow
def test_memory_stays_flat(monkeypatch):
    """Memory does not grow beyond the document cache, with valid and invalid documents."""
    monkeypatch.setattr("servey.graphql.execution.documents._MAX_CACHED", 30)
    documents = documents_of(*ACTIONS)

    def some(first: int) -> None:
        for number in range(first, first + 40):
            documents.get(f"{{ node(value: {number}) {{ value }} }}")
            with pytest.raises(BadDocument):
                documents.get(f"{{ nope{number} }}")

    some(0)
    tracemalloc.start()
    try:
        some(1000)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        some(2000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()


def test_only_valid_documents_are_cached_within_bounds(monkeypatch):
    monkeypatch.setattr("servey.graphql.execution.documents._MAX_CACHED", 20)
    documents = documents_of(*ACTIONS)
    kept = documents.get("{ node { value } }")
    assert documents.get("{ node { value } }") is kept
    with pytest.raises(BadDocument):
        documents.get("{ nope }")
    for number in range(20):
        documents.get(f"{{ node(value: {number}) {{ value }} }}")
    assert documents.get("{ node { value } }") is not kept
