"""The benchmarks run, and compare peers that answer alike. Nothing here is timed."""

import asyncio
import importlib
import json

import pytest

from benchmarks.cases import CASES
from benchmarks.inprocess import answer
from tests.serving import run

PEERS = {
    name: importlib.import_module(f"benchmarks.peers.{name}_app").app for name in ("fastapi", "servey", "starlette")
}


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_peers_answer_alike(case):
    answers = {}
    for name, app in PEERS.items():
        status, body = asyncio.run(answer(app, case))
        answers[name] = (status, json.loads(body))
    assert answers["servey"][0] == 200
    assert answers["fastapi"] == answers["servey"] == answers["starlette"]


def test_they_run():
    done = run("-m", "benchmarks", "text", "--quick")
    assert (done.returncode, "| GET one string | fastapi |" in done.stdout) == (0, True), done.stderr
    assert run("-m", "benchmarks", "nonsense").returncode == 2


def test_a_token_is_measured_beside_none():
    from benchmarks.tokens import section

    lines = section(rounds=2, times=20)
    assert any(line.startswith("| without a token | ") and line.endswith(" | 1.00 |") for line in lines)
