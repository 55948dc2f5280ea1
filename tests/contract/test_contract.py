"""Every transport answers every call alike."""

import pytest

from tests.contract.cases import CASES, Case
from tests.contract.transports import DIFFERENCES, NOT_OFFERED, TRANSPORTS, all_transports


@pytest.fixture(scope="module")
def transports():
    with all_transports() as found:
        yield found


@pytest.mark.parametrize(
    ("case", "transport"),
    [(case, each) for case in CASES for each in TRANSPORTS if (each, case.action) not in NOT_OFFERED],
    ids=lambda each: each if isinstance(each, str) else each.id,
)
def test_the_outcome_is_the_same(transports, transport: str, case: Case, record_outcome):
    value, error = transports[transport](case)
    record_outcome(case.id, transport, error or "value")
    expected = DIFFERENCES.get((transport, case.id.partition(" ")[2]), (case.value, case.error))
    assert (value, error) == expected
