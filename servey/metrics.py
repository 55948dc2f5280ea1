"""What a process counts of itself: the table of all metrics, their values, and the text that Prometheus reads.

Counting is cheap enough to be always on; only `/metrics` needs a setting. Labels are names that the project gives, never
what a client sends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Labels: TypeAlias = tuple[str, ...]
Values: TypeAlias = Mapping[Labels, float]
Ask: TypeAlias = Callable[[], Values | Awaitable[Values]]
"""What a gauge is now, by its labels."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Metric:
    """One metric: its name for Prometheus, what it says, and the names of its labels."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


CALLS = Metric(
    "servey_calls_total", "counter", "Calls of actions; status is that of HTTP", ("action", "transport", "status")
)
CALL_SECONDS = Metric("servey_call_duration_seconds", "histogram", "How long calls took", ("action", "transport"))
HTTP_REQUESTS = Metric(
    "servey_http_requests_total",
    "counter",
    "Requests over HTTP, by the path that their route has",
    ("method", "route", "status"),
)
IN_FLIGHT = Metric("servey_calls_in_flight", "gauge", "Calls over HTTP that run now")
JOBS_ENQUEUED = Metric("servey_jobs_enqueued_total", "counter", "Jobs that were put into the queue", ("action",))
JOBS = Metric(
    "servey_jobs_total",
    "counter",
    "Tries of jobs; outcome: done, retried, failed, dead or returned",
    ("action", "outcome"),
)
JOBS_QUEUED = Metric("servey_jobs_queued", "gauge", "Jobs that wait to be run")
JOBS_OLDEST = Metric("servey_jobs_oldest_seconds", "gauge", "How long the job that is due longest has waited")
JOBS_DEAD = Metric("servey_jobs_dead", "gauge", "Jobs that were given up; `servey jobs` lists them")
SCHEDULED = Metric(
    "servey_schedule_runs_total",
    "counter",
    "Slots of schedules that this process ran; outcome: done or failed",
    ("action", "outcome"),
)
SCHEDULE_LAG = Metric("servey_schedule_lag_seconds", "histogram", "How late slots were begun", ("action",))
PUBLISHED = Metric("servey_events_published_total", "counter", "Events that this process published", ("channel",))
DELIVERED = Metric("servey_events_delivered_total", "counter", "Events that were handed to subscribers", ("channel",))
SUBSCRIBERS = Metric("servey_subscribers", "gauge", "Subscriptions that are open", ("channel",))
SUBSCRIBERS_DROPPED = Metric(
    "servey_subscribers_dropped_total",
    "counter",
    "Subscriptions that the server ended; reason: slow, expired or forbidden",
    ("channel", "reason"),
)
CACHE = Metric(
    "servey_cache_requests_total", "counter", "Looks into the cache; result: hit or miss", ("action", "result")
)
PART_UP = Metric("servey_part_up", "gauge", "Whether a part that is used answers: bus, queue, cache", ("part",))


class Metrics:
    """The values of all metrics of one process.

    Shape: ``forward``, where it is set, is told of every change; it passes on what is counted to somewhere else.
    """

    def __init__(self) -> None:
        self.forward: Callable[[Metric, float, Labels], None] | None = None
        self._sums: dict[Metric, dict[Labels, float]] = {}
        self._buckets: dict[Metric, dict[Labels, list[float]]] = {}
        self._gauges: dict[Metric, Ask] = {}

    def add(self, metric: Metric, *labels: str, amount: float = 1) -> None:
        """Counts."""
        values = self._sums.setdefault(metric, {})
        values[labels] = values.get(labels, 0) + amount
        if self.forward is not None:
            self.forward(metric, amount, labels)

    def observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        """Takes one duration into a histogram."""
        buckets = self._buckets.setdefault(metric, {}).get(labels)
        if buckets is None:
            buckets = self._buckets[metric][labels] = [0.0] * (len(SECONDS) + 2)
        buckets[bisect_left(SECONDS, seconds)] += 1
        buckets[-1] += seconds
        if self.forward is not None:
            self.forward(metric, seconds, labels)

    def ask(self, metric: Metric, now: Ask) -> None:
        """Has a gauge asked for whenever somebody looks."""
        self._gauges[metric] = now

    @property
    def gauges(self) -> Mapping[Metric, Ask]:
        """The gauges that can be asked."""
        return self._gauges

    def value(self, metric: Metric, *labels: str) -> float:
        """What was counted; of a histogram, how often."""
        if metric.kind == "histogram":
            return sum(self._buckets.get(metric, {}).get(labels, ())[:-1])
        return self._sums.get(metric, {}).get(labels, 0)

    async def text(self, **common: str) -> str:
        """Everything, as Prometheus reads it; every line carries the ``common`` labels too.

        Source: Prometheus' text exposition format 0.0.4.
        """
        lines: list[str] = []
        for metric, values in self._sums.items():
            lines += _head(metric)
            lines += [
                f"{metric.name}{_labels(metric, each, common)} {_text(number)}" for each, number in values.items()
            ]
        for metric, rows in self._buckets.items():
            lines += _head(metric)
            for each, buckets in rows.items():
                lines += _histogram(metric, each, buckets, common)
        for metric, now in self._gauges.items():
            found = await _answer(now)
            lines += _head(metric)
            lines += [f"{metric.name}{_labels(metric, each, common)} {_text(number)}" for each, number in found.items()]
        return "\n".join(lines) + "\n" if lines else ""


async def _answer(now: Ask) -> Values:
    """What a gauge is; nothing where what it asks does not answer."""
    try:
        found = now()
        return await found if isawaitable(found) else found
    except Exception:
        return {}


def _head(metric: Metric) -> tuple[str, str]:
    return f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"


def _histogram(metric: Metric, labels: Labels, buckets: list[float], common: Mapping[str, str]) -> Iterable[str]:
    total = 0.0
    for limit, count in zip((*(f"{second:g}" for second in SECONDS), "+Inf"), buckets, strict=False):
        total += count
        yield f"{metric.name}_bucket{_labels(metric, labels, {**common, 'le': limit})} {_text(total)}"
    yield f"{metric.name}_sum{_labels(metric, labels, common)} {_text(buckets[-1])}"
    yield f"{metric.name}_count{_labels(metric, labels, common)} {_text(total)}"


def _labels(metric: Metric, values: Labels, common: Mapping[str, str]) -> str:
    pairs = [*zip(metric.labels, values, strict=True), *common.items()]
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}" if pairs else ""


def _text(number: float) -> str:
    # Not as `g` does, which rounds from a million on.
    return str(int(number)) if number == int(number) else repr(number)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
