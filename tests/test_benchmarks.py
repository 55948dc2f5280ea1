"""The benchmarks run, and compare peers that answer alike. Nothing here is timed."""

import asyncio
import importlib
import json
import re

import pytest

from benchmarks import compare
from benchmarks.cases import CASES
from benchmarks.inprocess import answer
from benchmarks.lines import lines_of
from benchmarks.peers import APART, APART_PYTHON
from tests.serving import ROOT, redis_server, run

ALONE = {"conduit_fastapi", "conduit_servey"}
"""Peers that change the folder and the environment of their process, and so run in one of their own."""

HERE = {name for case in CASES.values() for name in case.peers} - {*APART} - ALONE

PEERS = {name: importlib.import_module(f"benchmarks.peers.{name}_app").app for name in sorted(HERE)}

ANSWERS = """
import asyncio, importlib, json, sys
from benchmarks.cases import CASES
from benchmarks.inprocess import answer

name, *cases = sys.argv[1:]
app = importlib.import_module(f"benchmarks.peers.{name}_app").app
for case in map(CASES.get, cases):
    status, body = asyncio.run(answer(app, case))
    print(json.dumps([case.name, status, case.read(body)]))
"""


@pytest.mark.parametrize("case", [case for case in CASES.values() if HERE & {*case.peers}], ids=lambda case: case.name)
def test_peers_answer_alike(case):
    answers = {}
    for name in HERE & {*case.peers}:
        status, body = asyncio.run(answer(PEERS[name], case))
        answers[name] = (status, case.read(body))
    first = answers[case.peers[0]]
    assert first[0] == case.status
    assert answers == dict.fromkeys(answers, first)


def test_the_apps_of_the_realworld_example_answer_alike():
    cases = [case.name for case in CASES.values() if ALONE & {*case.peers}]
    answers = {}
    for name in ALONE:
        done = run("-c", ANSWERS, name, *cases, cwd=ROOT)
        answers[name] = [json.loads(line) for line in done.stdout.splitlines()]
    first = answers["conduit_fastapi"]
    assert [(case, status) for case, status, _ in first] == [(case, 200) for case in cases]
    assert answers == dict.fromkeys(answers, first)


def test_peers_of_their_own_are_pinned():
    for name in APART:
        assert re.search(rf"^{name}==", (ROOT / "benchmarks/peers/requirements.txt").read_text(encoding="utf-8"), re.M)
        assert name not in (ROOT / "requirements.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_they_run():
    done = run("-m", "benchmarks", "middleware", "--quick", timeout=110)
    assert done.returncode == 0, done.stderr
    for line in (
        "| (a) with a user's middleware | fastapi_middleware |",
        "|  | servey_middleware |",
        "| servey | ",
        "## Slower than FastAPI",
    ):
        assert line in done.stdout
    assert run("-m", "benchmarks", "nonsense").returncode == 2


@pytest.mark.parametrize("peer", ["fastapi", "servey"])
def test_curves_are_measured(peer):
    from benchmarks.curves import REQUESTS, of_actions, of_dependencies, of_items, of_models

    found = asyncio.run(of_actions(peer, 4))
    assert {"start", "memory", "openapi"} <= set(found) <= {"start", "memory", "openapi", *REQUESTS.values()}
    assert set(asyncio.run(of_dependencies(peer, 2))) == {"start", "process"}
    assert set(asyncio.run(of_models(peer, 2))) == {"start"}
    assert {"models", "models blocked", "dicts", "dicts blocked"} <= set(asyncio.run(of_items(peer, 20)))


@pytest.mark.slow
def test_a_thousand_actions_with_ten_dependencies_each_need_less_than_250_mb():
    from benchmarks.curves import measure

    assert measure("dependencies", "servey", 1000)["process"] < 250


@pytest.mark.slow
def test_tools_are_measured_beside_rest():
    from benchmarks.mcp import OURS, measure

    found = measure(rounds=1, seconds=0.5)
    assert list(found)[: len(OURS)] == [case.what for case in OURS]


def test_a_token_is_measured_beside_none():
    from benchmarks.tokens import section

    lines = section(rounds=2, times=20)
    assert any(line.startswith("| without a token | ") and line.endswith(" | 1.00 |") for line in lines)


def test_the_page_that_compares_has_the_lines_of_each_app():
    page = (ROOT / "docs/compare.md").read_text(encoding="utf-8")
    for peer in compare.PEERS:
        app, test = (lines_of([peer.path / name]) for name in ("app.py", "test_app.py"))
        assert f"| {peer.name} | {app} | {test} |" in page


@pytest.mark.slow
@pytest.mark.parametrize("peer", [peer for peer in compare.PEERS if not peer.is_apart], ids=lambda peer: peer.folder)
def test_the_same_app_does_the_same(peer):
    with redis_server() as redis, compare.served(peer, redis.url) as (_, port):
        compare.check(peer, port)


@pytest.mark.drill
@pytest.mark.parametrize("peer", [peer for peer in compare.PEERS if peer.is_apart], ids=lambda peer: peer.folder)
def test_the_same_app_elsewhere_does_the_same(peer):
    if not APART_PYTHON.exists():
        pytest.skip("skipped: the peers are not installed; run python3 dev.py bench compare --quick")
    with redis_server() as redis, compare.served(peer, redis.url) as (_, port):
        compare.check(peer, port)
