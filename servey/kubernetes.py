"""Kubernetes manifests for an app: web servers and workers with probes, limits, and rules for scaling and networks.

Source: the Kubernetes API reference (apps/v1, autoscaling/v2, batch/v1, networking.k8s.io/v1, policy/v1), the Pod Security
Standard "restricted", and KEDA's documentation of its Prometheus scaler.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from servey.core.catalog import Catalog
from servey.core.channels import BackgroundActionChannel, WebhookEventChannel
from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.core.triggers import CronTrigger, FixedRateTrigger
from servey.sls.yaml import dump

Manifest: TypeAlias = dict[str, Any]

WEB_PORT = 8000
WORKER_PORT = 8001
_USER = 10001
_SPARE_SECONDS = 5
"""How long after its own limits a process has before it is killed."""
_NAME = r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?"
"""Kubernetes allows 63 characters, of which the names made from this one need up to 21."""
_SECRET = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LONGEST_SECRET = 253
_HOST = (
    r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*)(:[0-9]+)?"
)
_PART = r"[a-z0-9]+(([.]|_{1,2}|-+)[a-z0-9]+)*"
_IMAGE = rf"({_HOST}/)?{_PART}(/{_PART})*(:[A-Za-z0-9_][-A-Za-z0-9_.]{{0,127}})?(@[a-z0-9]+:[0-9a-f]{{32,}})?"
"""Source: the grammar of image references of the Distribution project."""


@dataclass(frozen=True)
class Deployed:
    """What is deployed.

    Shape: ``secret`` is the name of a Secret whose keys are environment variables; ``migrate`` is a command that runs before
    a new version; ``prometheus`` is the URL of the Prometheus that scales the workers, through KEDA.
    """

    name: str
    image: str
    secret: str
    replicas: int = 2
    most_replicas: int = 10
    workers: int = 1
    migrate: str | None = None
    prometheus: str | None = None


def manifests(deployed: Deployed, settings: Settings) -> list[Manifest]:
    """Return the manifests of an app. Errors: ConfigError that lists every value that Kubernetes does not accept."""
    problems = list(_problems(deployed))
    if problems:
        raise ConfigError(problems)
    made = [_web(deployed, settings), _service(deployed), _web_scaling(deployed), *_shared(deployed, "web")]
    if deployed.workers:
        made += [_worker(deployed, settings), *_shared(deployed, "worker")]
        if deployed.prometheus is not None:
            made.append(_worker_scaling(deployed, deployed.prometheus))
    if deployed.migrate is not None:
        made.insert(0, _migration(deployed, deployed.migrate))
    return made


def check_workers(deployed: Deployed, catalog: Catalog) -> None:
    """Check that something runs the schedules and the jobs of an app. Errors: ConfigError."""
    if deployed.workers or deployed.most_replicas == 1:  # without Redis, a single web server runs them
        return
    schedules = (*catalog.triggered_by(FixedRateTrigger), *catalog.triggered_by(CronTrigger))
    channels: tuple[BackgroundActionChannel[Any] | WebhookEventChannel[Any], ...] = (
        *catalog.channels_of(BackgroundActionChannel),
        *catalog.channels_of(WebhookEventChannel),
    )
    needed = [f"the schedule of '{action.name}'" for action, _ in schedules]
    needed += [f"the channel '{channel.name}'" for channel in channels]
    if needed:
        raise ConfigError(
            f"--workers 0: only a worker would run {', '.join(dict.fromkeys(needed))}; use --workers 1, or for a single web "
            "server without Redis --replicas 1 --most-replicas 1"
        )


def _problems(deployed: Deployed) -> Iterator[str]:
    if not re.fullmatch(_NAME, deployed.name):
        yield (
            f"--name {_shown(deployed.name)} must have up to 42 of the characters a-z 0-9 and -, begin with a letter "
            "and end with a letter or digit"
        )
    if not re.fullmatch(_IMAGE, deployed.image):
        yield f"--image {_shown(deployed.image)} is not the name of an image; write it as registry/name:tag, e.g. shop:1"
    is_secret = len(deployed.secret) <= _LONGEST_SECRET and re.fullmatch(_SECRET, deployed.secret)
    if not is_secret and deployed.secret != deployed.name:  # by default they are the same
        yield (
            f"--secret {_shown(deployed.secret)} is not the name of a Secret: up to {_LONGEST_SECRET} of the characters "
            "a-z 0-9 - and ., beginning and ending with a letter or digit"
        )
    for option, number, least in (
        ("--replicas", deployed.replicas, 1),
        ("--most-replicas", deployed.most_replicas, 1),
        ("--workers", deployed.workers, 0),
    ):
        if number < least:
            yield f"{option} {number} must be at least {least}"
    most = f"--most-replicas {deployed.most_replicas}; raise --most-replicas"
    if deployed.replicas > deployed.most_replicas:
        yield f"--replicas {deployed.replicas} is more than {most}"
    if deployed.prometheus is not None:
        if deployed.workers > deployed.most_replicas:
            yield f"--workers {deployed.workers} is more than {most}"
        if not deployed.workers:
            yield "--prometheus scales workers, but with --workers 0 there are none; remove one of the two"
        if not _is_url(deployed.prometheus):
            yield f"--prometheus {_shown(deployed.prometheus)} is not a URL such as http://prometheus:9090"
    if deployed.migrate is not None and not deployed.migrate.strip():
        yield "--migrate has no command; write one, e.g. --migrate 'alembic upgrade head', or leave the option out"


def _shown(value: str) -> str:
    return value if value and value.isprintable() and " " not in value else repr(value)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and not re.search(r"\s", text)
        )
    except ValueError:  # a port or an address that is none
        return False


def as_yaml(found: list[Manifest]) -> str:
    """Return manifests as one file for ``kubectl apply -f``."""
    return "---\n".join(dump(each) for each in found)


def _web(deployed: Deployed, settings: Settings) -> Manifest:
    container = _container(
        deployed,
        ["servey", "run", "--host", "0.0.0.0", "--port", str(WEB_PORT)],
        WEB_PORT,
        {"SERVEY_METRICS": "1"},
    )
    # After SIGTERM, `servey run` serves on for SERVEY_DRAIN while the endpoints are updated, so no preStop hook has to wait.
    return _deployment(deployed, "web", None, container, settings.drain + settings.grace)


def _worker(deployed: Deployed, settings: Settings) -> Manifest:
    container = _container(
        deployed,
        ["servey", "worker"],
        WORKER_PORT,
        {"SERVEY_METRICS": "1", "SERVEY_HOST": "0.0.0.0", "SERVEY_WORKER_PORT": str(WORKER_PORT)},
    )
    replicas = deployed.workers if deployed.prometheus is None else None
    return _deployment(deployed, "worker", replicas, container, settings.job_grace)


def _deployment(
    deployed: Deployed, role: str, replicas: int | None, container: Manifest, ends_within: float
) -> Manifest:
    """Return a Deployment; without ``replicas`` an autoscaler sets their number, and applying the manifest must not."""
    labels = _labels(deployed, role)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    pod = {
        **_pod(container),
        "terminationGracePeriodSeconds": math.ceil(ends_within) + _SPARE_SECONDS,
        "topologySpreadConstraints": [spread],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{deployed.name}-{role}", "labels": labels},
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _container(deployed: Deployed, command: list[str], port: int, environment: dict[str, str]) -> Manifest:
    def probe(path: str, **more: int) -> Manifest:
        return {"httpGet": {"path": path, "port": port}, "timeoutSeconds": 3, **more}

    return {
        "name": command[1],
        "image": deployed.image,
        "command": command,
        "ports": [{"name": "http", "containerPort": port}],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "envFrom": [{"secretRef": {"name": deployed.secret}}],
        "startupProbe": probe("/health/live", periodSeconds=2, failureThreshold=30),
        "livenessProbe": probe("/health/live", periodSeconds=10, failureThreshold=3),
        "readinessProbe": probe("/health/ready", periodSeconds=2, failureThreshold=2),
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        **_restricted(),
    }


def _restricted() -> Manifest:
    context = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    return {"securityContext": context, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}


def _pod(container: Manifest) -> Manifest:
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _service(deployed: Deployed) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": deployed.name, "labels": _labels(deployed, "web")},
        "spec": {"selector": _labels(deployed, "web"), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def _shared(deployed: Deployed, role: str) -> list[Manifest]:
    """Return what web servers and workers have alike: one stays while nodes are drained, and only its port is open."""
    name, labels = f"{deployed.name}-{role}", _labels(deployed, role)
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "labels": labels},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
    }
    port = WEB_PORT if role == "web" else WORKER_PORT
    network = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": port}]}],
        },
    }
    return [budget, network]


def _web_scaling(deployed: Deployed) -> Manifest:
    name = f"{deployed.name}-web"
    usage = {"type": "Utilization", "averageUtilization": 70}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "labels": _labels(deployed, "web")},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": deployed.replicas,
            "maxReplicas": deployed.most_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": usage}}],
        },
    }


def _worker_scaling(deployed: Deployed, prometheus: str) -> Manifest:
    name = f"{deployed.name}-worker"
    trigger = {
        "serverAddress": prometheus,
        "query": f'max(servey_jobs_oldest_seconds{{pod=~"{deployed.name}-.*"}})',
        "threshold": "10",
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "labels": _labels(deployed, "worker")},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": deployed.workers,
            "maxReplicaCount": deployed.most_replicas,
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    }


def _migration(deployed: Deployed, command: str) -> Manifest:
    # A Job cannot be changed, so each version gets one of its own.
    version = hashlib.sha256(f"{deployed.image}\n{command}".encode()).hexdigest()[:8]
    container = {
        "name": "migrate",
        "image": deployed.image,
        "command": ["sh", "-c", command],
        "envFrom": [{"secretRef": {"name": deployed.secret}}],
        **_restricted(),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{deployed.name}-migrate-{version}", "labels": _labels(deployed, "migrate")},
        "spec": {
            "backoffLimit": 3,
            "ttlSecondsAfterFinished": 3600,
            "template": {
                "metadata": {"labels": _labels(deployed, "migrate")},
                "spec": {**_pod(container), "restartPolicy": "Never"},
            },
        },
    }


def _labels(deployed: Deployed, role: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": deployed.name, "app.kubernetes.io/component": role}
