"""Every rule lets the same callers in, and refuses the others with the same code, on every way in."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.contract.access import (
    CALLERS,
    CHANNEL_TABLE,
    RULES,
    TABLE,
    Ask,
    channels,
    kept_results,
    nested_fields,
)
from tests.contract.cases import Case
from tests.contract.transports import TRANSPORTS, all_transports

WAYS = [*TRANSPORTS, "a kept result", "GraphQL nested", "GraphQL batched"]


@pytest.fixture(scope="module")
def ways() -> Iterator[dict[str, Ask]]:
    with all_transports() as calls, ExitStack() as stack:

        def asking(transport: str) -> Ask:
            return lambda rule, caller: calls[transport](Case(f"by_{rule}", {}, caller=CALLERS[caller]))[1]

        yield {
            **{transport: asking(transport) for transport in TRANSPORTS},
            "a kept result": stack.enter_context(kept_results()),
            **stack.enter_context(nested_fields()),
        }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("rule", "caller", "outcome"), TABLE, ids=lambda each: str(each))
def test_a_rule_is_the_same_everywhere(ways, way, rule, caller, outcome, record_outcome):
    if way == "GraphQL batched" and RULES[rule].looks_at_params:
        return  # a batch has the parents' keys and no parameters
    if way == "MCP" and caller == "a bad token":
        outcome = "unauthenticated"  # an MCP client connects first, and there are guarded tools to list
    found = ways[way](rule, caller)
    record_outcome(f"{rule}: {caller}", way, found or "in")
    assert found == outcome


@pytest.fixture(scope="module")
def channel_ways() -> Iterator[dict[str, Ask]]:
    with channels() as found:
        yield found


@pytest.mark.parametrize("way", ["websocket", "websocket, many", "server-sent events", "GraphQL subscription"])
@pytest.mark.parametrize(("rule", "caller", "outcome"), CHANNEL_TABLE, ids=lambda each: str(each))
def test_a_rule_is_the_same_for_a_channel(channel_ways, way, rule, caller, outcome, record_outcome):
    found = channel_ways[way](rule, caller)
    record_outcome(f"{rule}: {caller}", way, found or "in")
    assert found == outcome


def test_every_rule_lets_somebody_in_or_says_so():
    for name, facts in RULES.items():
        assert len(facts.outcomes) == len(CALLERS)
        assert (None in facts.outcomes) == (name != "allow_none")
