"""The cluster on a real Docker engine: it comes up, is restarted and killed under load, and nobody notices.

Where the engine's builds need options of their own, COMPOSE_FILE names the files, as always.
"""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections import Counter

import httpx
import pytest

from tests.cluster.load import load, noted
from tests.serving import ROOT, free_port

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


class Cluster:
    """The project of this folder under `docker compose`."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        files = os.environ.get("COMPOSE_FILE", str(ROOT / "docker-compose.yml"))
        self._env = {
            **os.environ,
            "COMPOSE_FILE": files,
            "COMPOSE_PROJECT_NAME": "serveytest",
            "IMAGE": "servey-test-app",
            "PROJECT": str(ROOT / "tests" / "cluster" / "project"),
            "HTTP_PORT": str(port),
        }

    def compose(self, *words: str) -> str:
        return self._run("docker", "compose", *words)

    def docker(self, *words: str) -> str:
        return self._run("docker", *words)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self._env, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def healthy(self, container: str, within: float = 120) -> float:
        """The seconds until a container is healthy."""
        begun = time.monotonic()
        while (
            self.docker("inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", container).strip()
            != "running healthy"
        ):
            assert time.monotonic() - begun < within, self.docker("logs", "--tail", "20", container)
            time.sleep(0.2)
        return time.monotonic() - begun

    def kill(self, service: str) -> str:
        """Kills everything in one container of a service, as its kernel would."""
        container = self.containers(service)[0]
        user = ["-u", "redis"] if service == "redis" else []
        subprocess.run(
            ["docker", "exec", *user, container, "sh", "-c", "kill -9 -1"],
            env=self._env,
            capture_output=True,
            check=False,
        )
        return container


@pytest.fixture(scope="module")
def cluster():
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("skipped: no docker engine")
    made = Cluster()
    made.compose("build", "-q", "web")
    try:
        made.compose("up", "-d", "--no-build", "--wait")
        yield made
    finally:
        made.compose("down", "-v")


def told(text: str, **facts: object) -> None:
    print(json.dumps({"test": text, **facts}))


def test_what_is_for_the_inside_stays_there(cluster):
    assert httpx.get(f"{cluster.url}/health/live").json() == {"status": "ok"}
    assert httpx.get(f"{cluster.url}/metrics").status_code == 404
    assert httpx.get(f"{cluster.url}/docs").status_code == 404
    web = cluster.containers("web")[0]
    program = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    assert "servey_calls_in_flight 0" in cluster.docker("exec", web, "python", "-c", program)
    worker = cluster.containers("worker")[0]
    text = cluster.docker("exec", worker, "python", "-c", program.replace("8000", "8001"))
    assert 'servey_part_up{part="queue"} 1' in text
    assert cluster.docker("exec", web, "id", "-u").strip() == "10001"


def test_a_rolling_restart_under_load_loses_nothing(cluster):
    async def drill():
        async with load(cluster.url) as found:
            await asyncio.sleep(3)
            for service in ("web", "worker"):
                for container in cluster.containers(service):
                    await asyncio.to_thread(cluster.docker, "restart", container)
                    await asyncio.to_thread(cluster.healthy, container)
            await asyncio.sleep(3)
        return found, await noted(cluster.url, "done", found.enqueued), await noted(cluster.url, "ticks")

    found, done, ticks = asyncio.run(drill())
    told("rolling restart", requests=sum(found.answers.values()), failed=len(found.failures), slowest=found.slowest,
         events=len(found.published), jobs=len(found.enqueued), closes=dict(found.closes), slots=len(ticks))  # fmt: skip
    assert found.failures == []
    assert set(found.closes) <= {1012}
    assert found.unrecovered == 0
    assert all(each == found.published for each in found.received)
    assert Counter(done) == Counter(found.enqueued)
    assert max(Counter(ticks).values()) == 1


@pytest.mark.parametrize("service", ["web", "worker", "nginx", "redis"])
def test_any_one_container_is_killed(cluster, service):
    async def drill():
        async with load(cluster.url) as found:
            await asyncio.sleep(3)
            begun = time.monotonic()
            container = await asyncio.to_thread(cluster.kill, service)
            async with httpx.AsyncClient(base_url=cluster.url, timeout=2) as client:
                # It is back when a call that goes through all of it comes back, ten times in a row.
                good = 0
                while good < 10:
                    try:
                        answer = await client.post("/actions/tell", json={"number": -1})
                        good = good + 1 if answer.status_code == 200 else 0
                    except httpx.TransportError:
                        good = 0
            back = time.monotonic() - begun
            await asyncio.to_thread(cluster.healthy, container)
            await asyncio.sleep(2)
        return found, back, await noted(cluster.url, "done", found.enqueued)

    found, back, done = asyncio.run(drill())
    told("kill -9", service=service, back_s=round(back, 2), requests=sum(found.answers.values()),
         failed=len(found.failures), slowest=round(found.slowest, 2), closes={str(k): v for k, v in found.closes.items()},
         jobs=len(found.enqueued))  # fmt: skip
    assert back < 5
    assert set(found.enqueued) <= set(done)
    if service in ("web", "worker"):
        # At most what was in flight: 4 clients and 2 senders, one request each.
        assert len(found.failures) <= 6, found.failures
    for received in found.received:
        real = [number for number in received if number >= 0]
        assert real == sorted(set(real)), "an event came twice, or late"
