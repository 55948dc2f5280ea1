"""The cluster on a real Docker engine: it comes up, is restarted and killed under load, and clients hardly notice."""

import asyncio
import json
import time
from collections import Counter

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.cluster.engine import PASSWORD, report
from tests.cluster.load import load, noted

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]


def test_what_is_for_the_inside_stays_there(cluster):
    for entrance in cluster.entrances:
        assert httpx.get(f"{entrance}/health/live").json() == {"status": "ok"}
        assert httpx.get(f"{entrance}/metrics").status_code == 404
        assert httpx.get(f"{entrance}/health/ready").status_code == 404
        assert httpx.get(f"{entrance}/docs").status_code == 404
    web = cluster.containers("web")[0]
    program = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    assert "servey_calls_in_flight 0" in cluster.docker("exec", web, "python", "-c", program)
    worker = cluster.containers("worker")[0]
    text = cluster.docker("exec", worker, "python", "-c", program.replace("8000", "8001"))
    assert 'servey_part_up{part="queue"} 1' in text


def test_a_container_can_not_write_and_its_image_holds_nothing_needless(cluster):
    web = cluster.containers("web")[0]
    assert cluster.docker("exec", web, "id", "-u").strip() == "10001"
    shown = cluster.docker("exec", web, "sh", "-c", "touch /project/x /venv/x /x 2>&1; touch /tmp/x && echo only /tmp")
    assert shown.count("Read-only file system") == 3
    assert shown.endswith("only /tmp\n")
    project = cluster.docker("exec", web, "ls", "-A", "/project").split()
    assert project == ["__pycache__", "actions.py", "event_channels.py", "templates"]
    installed = cluster.docker("exec", web, "ls", "/venv/bin").split()
    assert "servey" in installed
    assert "pip" not in installed
    layers = cluster.docker("history", "--no-trunc", cluster.environment["IMAGE"])
    inspected = cluster.docker("image", "inspect", cluster.environment["IMAGE"])
    secret = cluster.docker("exec", web, "cat", "/run/secrets/jwt_secret_key")
    assert len(secret) == 64
    for text in (layers, inspected):
        assert secret not in text
        assert PASSWORD not in text


def test_a_rolling_restart_under_load_loses_nothing(cluster, front):
    async def drill():
        async with load(front.url, context=front.context) as found:
            await asyncio.sleep(3)
            await asyncio.to_thread(cluster.restart_one_by_one, "web", "worker")
            await asyncio.sleep(3)
        return found, await noted(cluster.url, "done", found.enqueued), await noted(cluster.url, "ticks")

    found, done, ticks = asyncio.run(drill())
    report("rolling restart", requests=sum(found.answers.values()), failed=len(found.failures), slowest=found.slowest,
           events=len(found.published), jobs=len(found.enqueued), closes=dict(found.closes), slots=len(ticks))  # fmt: skip
    assert found.failures == []
    assert set(found.closes) <= {1012}
    assert found.unrecovered == 0
    assert all(each == found.published for each in found.received)
    assert Counter(done) == Counter(found.enqueued)
    assert max(Counter(ticks).values()) == 1


def test_an_upgrade_under_load_loses_nothing(cluster, front):
    place = cluster.project / "actions.py"
    text = place.read_text(encoding="utf-8")
    place.write_text(
        text + "\n\n@action(triggers=WEB_GET)\nasync def added() -> str:\n    return 'new'\n", encoding="utf-8"
    )
    old = cluster.containers("web") + cluster.containers("worker")

    async def drill():
        async with load(front.url, context=front.context) as found:
            await asyncio.sleep(2)
            begun = time.monotonic()
            upgraded = await asyncio.to_thread(cluster.upgrade)
            took = time.monotonic() - begun
            await asyncio.sleep(2)
        return found, upgraded, took, await noted(cluster.url, "done", found.enqueued)

    found, upgraded, took, done = asyncio.run(drill())
    report("upgrade", seconds=round(took, 1), requests=sum(found.answers.values()), failed=found.failures,
           slowest=round(found.slowest, 2), events=len(found.published), jobs=len(found.enqueued),
           closes=dict(found.closes))  # fmt: skip
    assert upgraded.returncode == 0, upgraded.stderr
    new = cluster.containers("web") + cluster.containers("worker")
    assert len(new) == len(old)
    assert not set(new) & set(old)
    assert httpx.get(f"{cluster.url}/actions/added").json() == "new"
    assert found.failures == []
    assert all(each == found.published for each in found.received)
    assert set(found.enqueued) <= set(done)


def test_an_upgrade_to_a_version_that_does_not_start_changes_nothing(cluster):
    place = cluster.project / "actions.py"
    text = place.read_text(encoding="utf-8")
    old = cluster.containers("web") + cluster.containers("worker")
    place.write_text("import nothing_such\n" + text, encoding="utf-8")
    try:
        upgraded = cluster.upgrade()
    finally:
        place.write_text(text, encoding="utf-8")
    assert upgraded.returncode == 1
    assert "No module named 'nothing_such'" in upgraded.stderr
    assert "a new web does not become healthy; the others go on" in upgraded.stderr
    assert cluster.containers("web") + cluster.containers("worker") == old
    assert httpx.get(f"{cluster.url}/actions/echo?text=x").json() == "x"
    assert cluster.upgrade().returncode == 0


def test_restarting_the_entrances_one_by_one_loses_no_request(cluster, front):
    """The proxy in front avoids an entrance first, so that no request reaches a port whose nginx is ending."""

    def restart_both():
        for service, port in cluster.ports.items():
            with front.avoiding(port):
                cluster.restart_one_by_one(service)

    async def drill():
        async with load(front.url, context=front.context) as found:
            await asyncio.sleep(2)
            begun = time.monotonic()
            await asyncio.to_thread(restart_both)
            took = time.monotonic() - begun
            await asyncio.sleep(2)
        return found, took

    found, took = asyncio.run(drill())
    report("restart of both entrances", seconds=round(took, 1), requests=sum(found.answers.values()),
           failed=found.failures, slowest=round(found.slowest, 2),
           closes={str(k): v for k, v in found.closes.items()})  # fmt: skip
    assert found.failures == []
    assert found.unrecovered == 0
    assert all(each == found.published for each in found.received)


async def kill_under_load(cluster, service, urls, context=None):
    """Return what clients saw, after how many seconds ten calls in a row were answered, and the jobs that are done."""
    async with load(*urls, context=context) as found:
        await asyncio.sleep(3)
        begun = time.monotonic()
        container = await asyncio.to_thread(cluster.kill, service)
        async with httpx.AsyncClient(base_url=urls[0], timeout=2, verify=context or True) as client:
            good = 0
            while good < 10:
                try:
                    answer = await client.post("/actions/tell", json={"number": -1})
                    good = good + 1 if answer.status_code == 200 else 0
                except httpx.TransportError:
                    good = 0
        back = time.monotonic() - begun
        await asyncio.to_thread(cluster.wait_until_healthy, container)
        await asyncio.sleep(2)
    done = await noted(cluster.url, "done", found.enqueued)
    report("kill -9", service=service, addresses=len(urls), tls=context is not None, back_s=round(back, 2),
           requests=sum(found.answers.values()), failed=len(found.failures), repeated=found.repeated,
           slowest=round(found.slowest, 2), closes={str(k): v for k, v in found.closes.items()},
           jobs=len(found.enqueued))  # fmt: skip
    assert set(found.enqueued) <= set(done)
    for received in found.received:
        real = [number for number in received if number >= 0]
        assert real == sorted(set(real)), "an event came twice, or late"
    return found, back


@pytest.mark.parametrize("service", ["web", "worker", "nginx", "redis"])
def test_any_one_container_is_killed(cluster, service):
    found, back = asyncio.run(kill_under_load(cluster, service, [cluster.url]))
    assert back < 10
    if service in ("web", "worker"):
        # At most what was in flight: 4 clients and 2 senders, one request each.
        assert len(found.failures) <= 6, found.failures


@pytest.mark.parametrize("service", ["nginx", "nginx2"])
def test_an_entrance_is_killed_and_clients_with_both_addresses_go_to_the_other_one(cluster, service):
    found, _ = asyncio.run(kill_under_load(cluster, service, cluster.entrances))
    # Half of the clients had a connection to it; a GET is repeated, so at most the POST in flight failed.
    assert len(found.failures) <= 1, found.failures
    assert found.slowest < 2
    assert found.unrecovered == 0


@pytest.mark.parametrize("service", ["nginx", "nginx2", "web"])
def test_behind_the_proxy_that_terminates_tls_a_killed_container_is_no_outage(cluster, front, service):
    found, back = asyncio.run(kill_under_load(cluster, service, [front.url], front.context))
    # At most the POSTs in flight: those of two senders and of the probe, which is not counted.
    assert len(found.failures) <= 2, found.failures
    assert all(each.startswith("POST") for each in found.failures)
    assert back < 3
    assert found.unrecovered == 0


def test_a_cluster_that_is_taken_down_drains_and_a_new_one_goes_on(cluster):
    async def drill():
        socket = await connect(cluster.url.replace("http", "ws") + "/subscription")
        await socket.send(json.dumps({"type": "Subscribe", "payload": "numbers"}))
        await socket.recv()
        async with httpx.AsyncClient(base_url=cluster.url, timeout=30) as client:
            first = time.time_ns() // 1_000_000
            numbers = list(range(first, first + 200))
            for number in numbers:
                (await client.post("/actions/have-done", json={"number": number})).raise_for_status()
            asking = asyncio.create_task(client.get("/actions/slow", params={"seconds": 3}))
            await asyncio.sleep(0.5)
            begun = time.monotonic()
            down = asyncio.create_task(asyncio.to_thread(cluster.compose, "down"))
            answer = await asking
            try:
                while True:
                    await socket.recv()
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
            await down
            took = time.monotonic() - begun
        await asyncio.to_thread(cluster.compose, "up", "-d", "--no-build", "--wait")
        return answer, code, took, numbers, await noted(cluster.url, "done", numbers)

    answer, code, took, numbers, done = asyncio.run(drill())
    again = {number: count for number, count in Counter(done).items() if number in numbers and count > 1}
    report("down", seconds=round(took, 1), websocket=code, jobs=len(numbers), done=len(set(numbers) & set(done)),
           twice=len(again))  # fmt: skip
    assert answer.status_code == 200
    assert set(numbers) <= set(done)
    assert not again
