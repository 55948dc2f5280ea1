"""Kubernetes manifests for an app: web servers and workers with probes, limits, and rules for scaling and networks.

Source: the Kubernetes API reference (apps/v1, autoscaling/v2, batch/v1, networking.k8s.io/v1, policy/v1), the Pod Security
Standard "restricted", and KEDA's documentation of its Prometheus scaler.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from servey.core.errors import ConfigError
from servey.core.settings import Settings
from servey.sls.yaml import dump

Manifest: TypeAlias = dict[str, Any]

WEB_PORT = 8000
WORKER_PORT = 8001
_USER = 10001
_SPARE_SECONDS = 5
"""How long after its own limits a process has before it is killed."""


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
    """Return the manifests of an app. Errors: ConfigError for a name that Kubernetes does not accept."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", deployed.name):
        raise ConfigError(
            f"--name {deployed.name} must have up to 42 of the characters a-z 0-9 and -, and begin with a letter"
        )
    made = [_web(deployed, settings), _service(deployed), _web_scaling(deployed), *_shared(deployed, "web")]
    if deployed.workers:
        made += [_worker(deployed, settings), *_shared(deployed, "worker")]
        if deployed.prometheus is not None:
            made.append(_worker_scaling(deployed, deployed.prometheus))
    if deployed.migrate is not None:
        made.insert(0, _migration(deployed, deployed.migrate))
    return made


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
    return _deployment(deployed, "web", deployed.replicas, container, settings.drain + settings.grace)


def _worker(deployed: Deployed, settings: Settings) -> Manifest:
    container = _container(
        deployed,
        ["servey", "worker"],
        WORKER_PORT,
        {"SERVEY_METRICS": "1", "SERVEY_HOST": "0.0.0.0", "SERVEY_WORKER_PORT": str(WORKER_PORT)},
    )
    return _deployment(deployed, "worker", deployed.workers, container, settings.job_grace)


def _deployment(deployed: Deployed, role: str, replicas: int, container: Manifest, ends_within: float) -> Manifest:
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
            "replicas": replicas,
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
            "maxReplicas": max(deployed.replicas, deployed.most_replicas),
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
            "maxReplicaCount": max(deployed.workers, deployed.most_replicas),
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    }


def _migration(deployed: Deployed, command: str) -> Manifest:
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
        "metadata": {"name": f"{deployed.name}-migrate", "labels": _labels(deployed, "migrate")},
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
