"""Every transport answers every call alike."""

import pytest

from tests.contract.cases import CASES, Case
from tests.contract.transports import DIFFERENCES, TRANSPORTS, all_transports


@pytest.fixture(scope="module")
def transports():
    with all_transports() as found:
        yield found


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_outcome_is_the_same(transports, transport: str, case: Case, record_outcome):
    value, error = transports[transport](case)
    record_outcome(case.id, transport, error or "value")
    expected = DIFFERENCES.get((transport, case.id.partition(" ")[2]), (case.value, case.error))
    assert (value, error) == expected
