"""`/health/ready` while Redis answers but takes no writes."""

import httpx
import pytest

from tests.runtime.served import served
from tests.serving import free_port, redis_server, wait_until

ACTIONS = """
from servey import *

@action(triggers=WEB_GET, cache_control=TtlCacheControl(60))
async def cached() -> int:
    return 1

@action(triggers=FixedRateTrigger(60))
async def ticks() -> None: ...
"""
CHANNELS = "from servey import websocket_event_channel\n\nnews = websocket_event_channel('news', str)\n"


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    ],
    ids=["read-only", "full"],
)
def test_a_redis_that_takes_no_writes_is_not_ready(tmp_path, breaks, mends):
    (tmp_path / "actions.py").write_text(ACTIONS, encoding="utf-8")
    (tmp_path / "event_channels.py").write_text(CHANNELS, encoding="utf-8")
    port = free_port()
    env = {"SERVEY_METRICS": "1", "SERVEY_DRAIN": "0"}
    with redis_server() as redis, served(tmp_path, port, SERVEY_REDIS_URL=redis.url, **env) as server:

        def ready():
            return httpx.get(f"{server.url}/health/ready", timeout=5).json()

        assert ready() == {"status": "ok"}
        redis.command(breaks)
        wait_until(lambda: ready() == {"status": "failing", "failing": ["bus", "queue"]}, "the failure")
        metrics = httpx.get(f"{server.url}/metrics").text.splitlines()
        assert {'servey_part_up{part="bus"} 0', 'servey_part_up{part="queue"} 0'} <= set(metrics)
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        assert httpx.get(f"{server.url}/actions/cached").json() == 1
        redis.command(mends)
        wait_until(lambda: ready() == {"status": "ok"}, "the recovery")
