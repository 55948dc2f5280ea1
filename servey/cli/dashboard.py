"""The command `dashboard`: a Grafana dashboard and Prometheus alert rules for the metrics of an app."""

from __future__ import annotations

import json

import typer

from servey.cli.output import Output, write

dashboard: typer.Typer = typer.Typer(help="Print a dashboard, or alert rules, for the metrics of an app.")


@dashboard.command()
def grafana(output: Output = "-") -> None:
    """Print a Grafana dashboard, to import as JSON."""
    from servey.observability.dashboard import grafana_dashboard

    write(output, json.dumps(grafana_dashboard(), indent=2) + "\n")


@dashboard.command()
def alerts(output: Output = "-") -> None:
    """Print Prometheus alert rules, as a rule file; JSON is valid YAML."""
    from servey.observability.dashboard import alert_rules

    write(output, json.dumps(alert_rules(), indent=2) + "\n")
