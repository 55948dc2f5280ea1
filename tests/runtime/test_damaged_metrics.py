"""The shared files of metrics after a full disk, a power failure, a change of versions, or a fork."""

import json
import os
import subprocess
import sys

import pytest

from servey.observability.metrics import CACHE, SCHEDULE_LAG, Metrics
from servey.observability.shared_metrics import SharedMetrics
from tests.runtime.test_shared_metrics import value

pytestmark = pytest.mark.anyio


def hits(text: str) -> float:
    return value(text, "servey_cache_requests_total", action="report", result="hit")


async def counted(folder, amount: int = 5) -> None:
    """A process that has counted, and ended."""
    metrics = Metrics()
    async with metrics.shared_in(folder):
        metrics.add(CACHE, "report", "hit", amount=amount)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 50,
        b'{"totals": [["a',
        b"[]",
        b'{"totals": [], "merged": 3}',
        b'{"totals": [["a", [], 3]]}',
        b"\xff",
    ],
)
async def test_counters_begin_again_if_those_of_ended_processes_are_damaged(tmp_path, content, caplog):
    await counted(tmp_path)
    (tmp_path / "ended.json").write_bytes(content)
    metrics = Metrics()
    async with metrics.shared_in(tmp_path):
        metrics.add(CACHE, "report", "hit")
        assert hits(await metrics.text()) in (1, 6)
        assert hits(await metrics.text()) in (1, 6)
    await counted(tmp_path)


@pytest.mark.parametrize("damage", ["names", "lines", "values", "half of the values", "no values"])
async def test_a_damaged_file_of_a_process_hides_only_its_numbers(tmp_path, damage):
    await counted(tmp_path)
    (names,) = tmp_path.glob("*.names")
    values = names.with_suffix(".values")
    if damage == "names":
        names.write_bytes(b'["", "servey_ca\0\0\0\n[]\n7\n\xff\n["", 1, 2, "x", {}]\n' + names.read_bytes())
    elif damage == "lines":
        names.write_bytes(b"\0" * 200)
    elif damage == "values":
        values.write_bytes(b"")
    elif damage == "half of the values":
        values.write_bytes(values.read_bytes()[:5])
    else:
        values.unlink()
    metrics = Metrics()
    async with metrics.shared_in(tmp_path):
        metrics.add(CACHE, "report", "hit")
        for _ in range(2):
            assert hits(await metrics.text()) == (6 if damage == "names" else 1)


async def test_a_line_that_a_full_disk_cut_is_written_again(tmp_path, monkeypatch, caplog):
    write, metrics, other = os.pwrite, Metrics(), Metrics()
    async with metrics.shared_in(tmp_path), other.shared_in(tmp_path):
        metrics.add(CACHE, "report", "hit")
        monkeypatch.setattr(os, "pwrite", lambda file, data, place: write(file, data[:10], place))
        metrics.add(CACHE, "lost", "hit")
        monkeypatch.setattr(os, "pwrite", write)
        metrics.add(CACHE, "found", "hit")
        text = await other.text()
        assert hits(text) == 1
        assert value(text, "servey_cache_requests_total", action="found") == 1
        assert value(text, "servey_cache_requests_total", action="lost") == 0
    assert "is missing in the sums of /metrics" in caplog.text


async def test_series_of_a_version_with_other_labels_or_buckets_are_left_out(tmp_path):
    await counted(tmp_path)
    await counted(tmp_path)
    kept = tmp_path / "ended.json"
    rows = json.loads(kept.read_text(encoding="utf-8"))
    rows["totals"] += [[CACHE.name, ["report"], [7.0]], [SCHEDULE_LAG.name, ["tick"], [1.0, 2.0]], ["gone", [], [1.0]]]
    kept.write_text(json.dumps(rows), encoding="utf-8")
    metrics = Metrics()
    async with metrics.shared_in(tmp_path):
        text = await metrics.text()
    assert hits(text) == 10
    assert value(text, "servey_schedule_lag_seconds_count") == 0


FORKED = """
import os, sys
from pathlib import Path
from servey.observability.shared_metrics import SharedMetrics
shared = SharedMetrics(Path(sys.argv[1]))
shared.add("c", ("a",), 1)
shared.set_gauges("g", {(): 2})
ready, told = os.pipe()
if os.fork() == 0:
    shared.add("c", ("a",), 10)
    shared.add("c", ("b",), 10)
    os.write(told, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(ready, 1)
shared.add("d", (), 3)
print("done", flush=True)
os._exit(0)
"""


def test_a_forked_child_neither_counts_nor_keeps_its_parent_alive(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", FORKED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert process.wait(20) == 0
        shared = SharedMetrics(tmp_path)
        try:
            # The child still runs; the gauge of its parent is gone.
            assert shared.read() == {("c", ("a",)): [1.0], ("d", ()): [3.0]}
        finally:
            shared.close()
