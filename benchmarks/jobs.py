"""Measures background jobs beside peers, over one Redis: python -m benchmarks.jobs [--quick] [--write]."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median

import redis

from benchmarks.command import A_MINUTE, parser_of, print_report
from benchmarks.fanout import a_redis, cpu_seconds
from benchmarks.peers import APART_PYTHON

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "JOBS.md"
WORKERS = {
    "servey": [sys.executable, "-m", "servey", "worker"],
    "arq, tuned": [sys.executable, "-m", "arq", "benchmarks.peers.jobs_arq.Tuned"],
    "arq, its defaults": [sys.executable, "-m", "arq", "benchmarks.peers.jobs_arq.Plain"],
    "Celery": [
        *(str(APART_PYTHON), "-m", "celery", "-A", "benchmarks.peers.jobs_celery", "worker"),
        *("--pool", "threads", "--concurrency", "50", "--loglevel", "ERROR"),
    ],
    "SAQ": [str(APART_PYTHON), "-m", "saq", "benchmarks.peers.jobs_saq.settings"],
}
LISTS = {
    "servey": ("{servey}:jobs:default", "{servey}:running"),
    "Celery": ("celery", "unacked"),
    "SAQ": ("saq:default:queued", "saq:default:active"),
}
RATES = (10, 500)
WORK = {"noted": "does nothing", "waited": "waits 20 ms"}
SLOW = ("arq, its defaults",)
WARM_UP = 200


class Peer:
    """A worker process and the code that enqueues jobs for it, with a Redis database of their own."""

    def __init__(self, name: str, url: str, log: Path) -> None:
        self.name, self.log = name, log
        self._redis = redis.Redis.from_url(url)
        self._redis.flushdb()
        self._env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SERVEY_REDIS_URL": url,
            "SERVEY_ACTION_PATH": "benchmarks.peers.jobs_servey",
            "SERVEY_LOG_LEVEL": "WARNING",
            "JOBS_LOG": str(log),
        }
        self.process = subprocess.Popen(
            WORKERS[name], cwd=ROOT, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.enqueue("noted", WARM_UP)
        self.wait()

    def enqueue(self, work: str, count: int, pause: float = 0) -> tuple[float, float]:
        """The median time to enqueue one job, in seconds, and the jobs that were enqueued a second."""
        command = [WORKERS[self.name][0], "-m", "benchmarks.jobs", "--enqueue", self.name, work, str(count), str(pause)]
        took, rate = subprocess.check_output(command, cwd=ROOT, env=self._env).split()
        return float(took), float(rate)

    def wait(self) -> None:
        """Wait until every job is done."""
        end = time.monotonic() + 120
        while self._waiting():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not finish")
            time.sleep(0.01)

    def _waiting(self) -> bool:
        return bool(self._redis.exists(*LISTS.get(self.name, ("arq:queue",))))

    def burst(self, work: str, count: int) -> tuple[float, float]:
        """Seconds and CPU seconds of the worker for each job, for many jobs that are queued before it starts."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            self.enqueue(work, count)
            before, begun = cpu_seconds(self.process.pid), time.perf_counter()
        finally:
            self.process.send_signal(signal.SIGCONT)
        self.wait()
        return (time.perf_counter() - begun) / count, (cpu_seconds(self.process.pid) - before) / count

    def delays(self, count: int, rate: float) -> tuple[float, float, list[float]]:
        """The time to enqueue a job, the jobs a second, and how long each job waited until it started."""
        self.log.write_text("", encoding="utf-8")
        took, found = self.enqueue("noted", count, 1 / rate)
        self.wait()
        return took, found, sorted(map(float, self.log.read_text(encoding="utf-8").split()))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._redis.close()


@contextlib.contextmanager
def working(url: str, folder: Path) -> Iterator[list[Peer]]:
    with contextlib.ExitStack() as stack:
        peers = []
        for number, name in enumerate(WORKERS):
            if shutil.which(WORKERS[name][0]):
                peers.append(Peer(name, url.removesuffix("0") + str(number), folder / f"{number}.log"))
                stack.callback(peers[-1].close)
        yield peers


def report(*, quick: bool) -> Iterator[str]:
    rounds, count = (2, 500) if quick else (5, 2000)
    yield from (
        "# Jobs",
        "",
        "Made by `python3 dev.py bench jobs --write`. One worker process each, over one Redis; 50 concurrent jobs,",
        f"or 10 with arq's defaults. Medians of {rounds} interleaved rounds of {count} jobs (a tenth for arq's defaults),",
        "all queued before the worker starts. Ratios compare jobs a second, and the CPU time of the worker, within a round.",
        "Servey's jobs have a lease and a fencing token; those of arq, Celery and SAQ have neither.",
        "",
        f"Python {platform.python_version()}, arq {version('arq')}, redis {version('redis')}.",
    )
    with a_redis() as url, tempfile.TemporaryDirectory() as folder, working(url, Path(folder)) as peers:
        for work, what in WORK.items():
            yield from (
                "",
                f"## A job that {what}",
                "",
                "| peer | jobs/s | x tuned arq | CPU us of the worker | x less than tuned arq |",
                "|---|---|---|---|---|",
            )
            found: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in peers}
            for turn in range(rounds):
                for peer in peers[turn % len(peers) :] + peers[: turn % len(peers)]:
                    found[peer.name].append(peer.burst(work, count // 10 if peer.name in SLOW else count))
            tuned = found["arq, tuned"]
            for name, each in found.items():
                ratio = median(base[0] / own[0] for base, own in zip(tuned, each, strict=True))
                rate, cpu = 1 / median(own[0] for own in each), median(own[1] for own in each) * 1e6
                less = median(base[1] / own[1] for base, own in zip(tuned, each, strict=True))
                yield f"| {name} | {rate:.0f} | {ratio:.2f} | {cpu:.0f} | {less:.2f} |"
        for wanted in RATES:
            yield from (
                "",
                f"## {wanted} jobs a second, one after the other",
                "",
                "| peer | jobs/s | to enqueue, p50 ms | until it starts, p50 ms | p99 ms |",
                "|---|---|---|---|---|",
            )
            for peer in peers:
                took, rate, waits = peer.delays(min(count, wanted * (3 if quick else 20)), wanted)
                cells = (took, waits[len(waits) // 2], waits[len(waits) * 99 // 100])
                yield f"| {peer.name} | {rate:.0f} | " + " | ".join(f"{cell * 1000:.2f}" for cell in cells) + " |"


def enqueue(name: str, work: str, count: int, pause: float) -> tuple[float, float]:
    """Enqueue jobs in a separate process; return the median time to enqueue one, in seconds, and the jobs a second."""
    if name == "Celery":
        found: tuple[float, float] = importlib.import_module("benchmarks.peers.jobs_celery").enqueue(work, count, pause)
        return found
    if name == "SAQ":
        return asyncio.run(importlib.import_module("benchmarks.peers.jobs_saq").enqueue(work, count, pause))
    if name == "servey":
        from benchmarks.peers import jobs_servey

        return asyncio.run(jobs_servey.enqueue(work, count, pause))
    from benchmarks.peers import jobs_arq

    return asyncio.run(jobs_arq.enqueue(work, count, pause, tuned=name == "arq, tuned"))


def main() -> None:
    parser = parser_of("benchmarks.jobs", __doc__, RESULTS, A_MINUTE)
    parser.add_argument("--enqueue", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.enqueue:
        name, work, count, pause = options.enqueue
        print(*enqueue(name, work, int(count), float(pause)))
        return
    print_report(report(quick=options.quick), RESULTS, write=options.write)


if __name__ == "__main__":
    main()
