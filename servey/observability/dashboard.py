"""A Grafana dashboard and Prometheus alert rules, made of the metrics that `/metrics` has.

Source: Grafana's dashboard JSON model (schema 39); Prometheus' alerting rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from servey.observability import metrics
from servey.observability.metrics import Metric

_SCHEMA = 39
_WIDTH, _HEIGHT = 8, 7
_HIT = '{result="hit"}'


@dataclass(frozen=True)
class Panel:
    """One graph. Shape: ``unit`` is Grafana's; ``legend`` uses labels as ``{{action}}``."""

    title: str
    expression: str
    unit: str = "short"
    legend: str = ""


@dataclass(frozen=True)
class Alert:
    """One alert. Units: ``seconds`` is how long the expression must hold."""

    name: str
    expression: str
    seconds: int
    summary: str


def _rate(metric: Metric, by: str, window: str = "5m", only: str = "") -> str:
    return f"sum by ({by}) (rate({metric.name}{only}[{window}]))"


def _quantile(metric: Metric, quantile: float, by: str = "", window: str = "5m") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric.name}_bucket[{window}])))"


_FAILING = f'sum(rate({metrics.CALLS.name}{{status=~"5.."}}[5m])) / sum(rate({metrics.CALLS.name}[5m]))'  # 0 to 1
_NEAR_LIMIT = f"{metrics.IN_FLIGHT.name} / {metrics.IN_FLIGHT_LIMIT.name}"

PANELS = (
    Panel("Calls", _rate(metrics.CALLS, "transport"), "reqps", "{{transport}}"),
    Panel("Failing calls", _FAILING, "percentunit"),
    Panel("Calls in flight", f"sum({metrics.IN_FLIGHT.name})"),
    Panel("Slowest actions, 99 %", f"topk(10, {_quantile(metrics.CALL_SECONDS, 0.99, 'action')})", "s", "{{action}}"),
    Panel("Most called actions", f"topk(10, {_rate(metrics.CALLS, 'action')})", "reqps", "{{action}}"),
    Panel("HTTP requests", _rate(metrics.HTTP_REQUESTS, "status"), "reqps", "{{status}}"),
    Panel("Jobs that wait", f"max({metrics.JOBS_QUEUED.name})"),
    Panel("Longest wait of a job", f"max({metrics.JOBS_OLDEST.name})", "s"),
    Panel(
        "Jobs of each queue",
        f"max by (queue, state) ({metrics.QUEUE_JOBS.name})",
        legend="{{queue}} {{state}}",
    ),
    Panel("Longest wait of each queue", f"max by (queue) ({metrics.QUEUE_OLDEST.name})", "s", "{{queue}}"),
    Panel("Paused queues", f"max by (queue) ({metrics.QUEUE_PAUSED.name})", legend="{{queue}}"),
    Panel("Late jobs, 99 %", _quantile(metrics.JOB_WAIT, 0.99, "queue"), "s", "{{queue}}"),
    Panel("Slowest jobs, 99 %", f"topk(10, {_quantile(metrics.JOB_RUN, 0.99, 'action')})", "s", "{{action}}"),
    Panel(
        "Jobs of each action",
        f"topk(10, max by (action, state) ({metrics.ACTION_JOBS.name}))",
        legend="{{action}} {{state}}",
    ),
    Panel(
        "Longest wait of each action", f"topk(10, max by (action) ({metrics.ACTION_OLDEST.name}))", "s", "{{action}}"
    ),
    Panel("Dead jobs", f"max({metrics.JOBS_DEAD.name})"),
    Panel("Tries of jobs", _rate(metrics.JOBS, "outcome"), "ops", "{{outcome}}"),
    Panel("Runs of schedules", _rate(metrics.SCHEDULED, "action, outcome"), "ops", "{{action}} {{outcome}}"),
    Panel("Late schedules, 99 %", _quantile(metrics.SCHEDULE_LAG, 0.99, window="10m"), "s"),
    Panel("Subscribers", f"sum by (channel) ({metrics.SUBSCRIBERS.name})", legend="{{channel}}"),
    Panel("Events delivered", _rate(metrics.DELIVERED, "channel"), "ops", "{{channel}}"),
    Panel("Subscribers dropped", _rate(metrics.SUBSCRIBERS_DROPPED, "reason"), "ops", "{{reason}}"),
    Panel(
        "Cache hits",
        f"{_rate(metrics.CACHE, 'action', only=_HIT)} / {_rate(metrics.CACHE, 'action')}",
        "percentunit",
        "{{action}}",
    ),
    Panel("Parts that answer", f"min by (part) ({metrics.PART_UP.name})", legend="{{part}}"),
    Panel("Restarted tasks", _rate(metrics.TASK_RESTARTS, "task"), "ops", "{{task}}"),
)

ALERTS = (
    Alert("ServeyCallsFail", f"{_FAILING} > 0.01", 300, "More than 1 % of the calls fail"),
    Alert("ServeyJobsWait", f"max({metrics.JOBS_OLDEST.name}) > 60", 300, "Jobs wait for a minute; add workers"),
    Alert("ServeyJobsDead", f"max({metrics.JOBS_DEAD.name}) > 0", 0, "Jobs were given up; see `servey jobs dead`"),
    Alert(
        "ServeyPartDown", f"min by (part) ({metrics.PART_UP.name}) == 0", 30, "A part does not answer, such as Redis"
    ),
    Alert(
        "ServeySchedulesLate", f"{_quantile(metrics.SCHEDULE_LAG, 0.99, window='10m')} > 5", 600, "Schedules start late"
    ),
    Alert("ServeyNearLimit", f"max({_NEAR_LIMIT}) > 0.8", 60, "Near SERVEY_MAX_IN_FLIGHT; add web processes"),
    Alert(
        "ServeySubscribersSlow",
        f'sum(rate({metrics.SUBSCRIBERS_DROPPED.name}{{reason="slow"}}[5m])) > 1',
        300,
        "Subscribers do not keep up with their events",
    ),
)


def grafana_dashboard() -> dict[str, Any]:
    """Return a dashboard to import into Grafana; its variable chooses the Prometheus data source."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": panel.title,
            "datasource": source,
            "gridPos": {"x": number % 3 * _WIDTH, "y": number // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "targets": [{"refId": "A", "expr": panel.expression, "legendFormat": panel.legend, "datasource": source}],
        }
        for number, panel in enumerate(PANELS)
    ]
    variable = {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "servey",
        "title": "Servey",
        "schemaVersion": _SCHEMA,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": panels,
    }


def alert_rules() -> dict[str, Any]:
    """Return the alert rules as the content of a Prometheus rule file."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": f"{alert.seconds}s",
            "labels": {"severity": "warning"},
            "annotations": {"summary": alert.summary},
        }
        for alert in ALERTS
    ]
    return {"groups": [{"name": "servey", "rules": rules}]}
