"""Slots of schedules over a real Redis, by several workers."""

import signal
import time
from collections import Counter

import pytest

from tests.jobs.conftest import NOTE, Notes, worker

SCHEDULES = (
    NOTE
    + """
from servey import *

def every(seconds):
    @action(name=f"every_{seconds}", triggers=FixedRateTrigger(seconds))
    def run() -> None:
        slot = round(time.time() // seconds * seconds, 3)
        note(seconds, slot, os.getpid())
    return run

half, one, seven = every(0.5), every(1), every(7)
"""
)


def check_slots(found, begin: float, end: float, *, missing: int, outage: tuple[float, float] = (0, 0)) -> None:
    """No slot ran twice, and no more than so many of those between begin and end did not run."""
    for interval in (0.5, 1, 7):
        slots = Counter(slot for each, slot, _ in found if each == interval)
        assert max(slots.values()) == 1, (interval, slots)
        first = -(-begin // interval) * interval
        wanted = {round(first + interval * number, 3) for number in range(int((end - first) / interval))}
        lost = sorted(wanted - set(slots))
        lost = [slot for slot in lost if not outage[0] - 1 <= slot <= outage[1] + 1]
        assert len(lost) <= missing, (interval, lost)


def run_three(tmp_path, notes: Notes, redis, *, seconds: float) -> None:
    (tmp_path / "actions.py").write_text(SCHEDULES, encoding="utf-8")
    with worker(tmp_path, redis.url) as first, worker(tmp_path, redis.url) as second, worker(tmp_path, redis.url):
        notes.until(lambda found: len({pid for *_, pid in found}) >= 1 and len(found) > 3)
        begin = time.time() + 3  # until all three have come up
        time.sleep(seconds / 3)
        first.kill()
        second.send_signal(signal.SIGSTOP)
        time.sleep(4)
        second.send_signal(signal.SIGCONT)
        time.sleep(seconds - seconds / 3 - 4)
        end = time.time() - 1
    check_slots(notes.read(), begin, end, missing=1)


def test_each_slot_runs_once_though_a_worker_is_killed_and_another_stopped(tmp_path, notes, redis_of_jobs):
    run_three(tmp_path, notes, redis_of_jobs, seconds=12)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_each_slot_runs_once_for_a_minute(tmp_path, notes, redis_of_jobs):
    run_three(tmp_path, notes, redis_of_jobs, seconds=60)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_only_slots_inside_an_outage_of_redis_are_missing(tmp_path, notes, redis_of_jobs):
    (tmp_path / "actions.py").write_text(SCHEDULES, encoding="utf-8")
    with worker(tmp_path, redis_of_jobs.url), worker(tmp_path, redis_of_jobs.url):
        notes.until(lambda found: len(found) > 3)
        begin = time.time() + 3
        time.sleep(8)
        down = time.time()
        redis_of_jobs.stop(signal.SIGKILL)
        time.sleep(3)
        redis_of_jobs.start()
        up = time.time()
        time.sleep(10)
        end = time.time() - 1
    check_slots(notes.read(), begin, end, missing=0, outage=(down, up))
