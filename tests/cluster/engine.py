"""The compose file on a real Docker engine, with both entrances."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.serving import ROOT, free_port

PASSWORD = "a $word of 'several' signs"


class Cluster:
    """A copy of the project of this folder under `docker compose`.

    Where the engine's builds need options of their own, COMPOSE_FILE names the files, as always.
    """

    def __init__(self, folder: Path) -> None:
        self.ports = {"nginx": free_port(), "nginx2": free_port()}
        self.entrances = [f"http://127.0.0.1:{port}" for port in self.ports.values()]
        self.url = self.entrances[0]
        # With what such a folder often contains, and no image may.
        self.project = project = folder / "project"
        shutil.copytree(ROOT / "tests" / "cluster" / "project", project, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (".env", ".git/config", ".venv/pyvenv.cfg", "tests/test_actions.py"):
            (project / name).parent.mkdir(exist_ok=True)
            (project / name).write_text("SECRET=1", encoding="utf-8")
        env_file = folder / "app.env"
        quoted = PASSWORD.replace("'", "\\'")
        env_file.write_text(f"SERVEY_LOGIN_PASSWORD='{quoted}'\n", encoding="utf-8")
        self.environment = {
            **os.environ,
            "COMPOSE_FILE": os.environ.get("COMPOSE_FILE", str(ROOT / "docker-compose.yml")),
            "COMPOSE_PROJECT_NAME": "serveytest",
            "COMPOSE_PROFILES": "two-entrances",
            "IMAGE": "servey-test-app",
            "PROJECT": str(project),
            "ENV_FILE": str(env_file),
            "HTTP_PORT": str(self.ports["nginx"]),
            "HTTP_PORT_2": str(self.ports["nginx2"]),
            # The proxy of these tests has the address of the network's gateway, from one of Docker's pools.
            "TRUSTED_HOPS": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        }

    def compose(self, *words: str) -> str:
        return self._run("docker", "compose", *words)

    def docker(self, *words: str) -> str:
        return self._run("docker", *words)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def wait_until_healthy(self, container: str, within: float = 120) -> None:
        end = time.monotonic() + within
        state = "{{.State.Status}} {{.State.Health.Status}}"
        while self.docker("inspect", "-f", state, container).strip() != "running healthy":
            assert time.monotonic() < end, self.docker("logs", "--tail", "20", container)
            time.sleep(0.2)

    def restart_one_by_one(self, *services: str) -> None:
        for service in services:
            for container in self.containers(service):
                self.docker("restart", container)
                self.wait_until_healthy(container)

    def upgrade(self) -> "subprocess.CompletedProcess[str]":
        """Run docker/upgrade.sh, which replaces the web servers and workers by ones of a new image."""
        script = ROOT / "docker" / "upgrade.sh"
        return subprocess.run(
            [script], cwd=ROOT, env=self.environment, capture_output=True, encoding="utf-8", check=False
        )

    def kill(self, service: str) -> str:
        """Kill every process in one container of a service, as the kernel would; return the container."""
        container = self.containers(service)[0]
        user = ["-u", "redis"] if service == "redis" else []
        subprocess.run(
            ["docker", "exec", *user, container, "sh", "-c", "kill -9 -1"],
            env=self.environment,
            capture_output=True,
            check=False,
        )
        return container


def require_engine() -> None:
    """Fail where no Docker engine answers: these tests run only when somebody asks for them."""
    try:
        done = subprocess.run(["docker", "compose", "version"], capture_output=True, encoding="utf-8", check=False)
        if done.returncode == 0:
            done = subprocess.run(["docker", "info"], capture_output=True, encoding="utf-8", check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError:
        problem = "there is no command `docker`"
    if problem:
        pytest.fail(f"the drills of the cluster need a Docker engine with Compose: {problem}", pytrace=False)


def report(drill: str, **facts: object) -> None:
    """Print the figures of a drill, for docs/operating.md."""
    print(json.dumps({"drill": drill, **facts}))
