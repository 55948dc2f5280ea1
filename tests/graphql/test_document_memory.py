"""Cached documents keep no tokens, and errors have the locations that they had with them."""

import gc
from collections import Counter

import pytest
from graphql import DocumentNode
from graphql.language import Token

from servey import WEB_GET, NotFound, action
from tests.graphql.graphql_client import graphql_client


@action(triggers=WEB_GET)
async def fails(number: int, name: str = "x") -> str:
    raise NotFound("no such number")


@pytest.mark.parametrize(
    ("query", "variables", "locations"),
    [
        ("{\n  fails(number: 1) }", {}, [(2, 3)]),
        ("{ fails(number: 1)\n  ...F } fragment F on Query {\n b: fails(number: 2, name: 5) }", {}, [(3, 28)]),
        ("query(\n $number: Int!) { fails(number: $number) }", {"number": "x"}, [(2, 2)]),
        ("{ a: fails(number: 1)\n ok: nothing }", {}, [(2, 2)]),
        ("{ fails(number: 1) }\n}", {}, [(2, 1)]),
        ("query($number: Int!) { fails(\nnumber: $number) }", {"number": 2}, [(1, 24)]),
    ],
)
def test_errors_have_locations(query, variables, locations):
    with graphql_client(fails) as ask:
        for _ in range(2):  # then from the cache
            errors = ask(query, variables)["errors"]
            assert [(each["line"], each["column"]) for each in errors[0]["locations"]] == locations


def test_cached_documents_keep_no_tokens():
    with graphql_client(fails) as ask:
        ask("query Q0 { fails(number: 0) }")
        gc.collect()
        gc.disable()
        try:
            before = Counter(map(type, gc.get_objects()))
            for number in range(1, 40):
                ask(f"query Q{number} {{ fails(number: {number}) }}")
            after = Counter(map(type, gc.get_objects()))
            assert after[DocumentNode] - before[DocumentNode] == 39
            assert after[Token] - before[Token] == 0
        finally:
            gc.enable()
