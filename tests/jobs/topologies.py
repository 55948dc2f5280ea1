"""A Redis Cluster and a service of Sentinel, of real processes."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.serving import RedisServer, free_port, redis_command, redis_server, wait_until


@contextmanager
def three_nodes() -> Iterator[list[RedisServer]]:
    """A cluster of three nodes with a third of the slots each."""
    with ExitStack() as stack:
        # By default the nodes talk on the port 10,000 above, which may not exist.
        buses = [free_port() for _ in range(3)]
        words = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port")
        nodes = [stack.enter_context(redis_server(*words, str(bus))) for bus in buses]
        for number, node in enumerate(nodes):
            node.command("CLUSTER", "ADDSLOTSRANGE", str(number * 5462), str(min(16383, number * 5462 + 5461)))
            node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            if number:
                node.command("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), str(buses[0]))
        for node in nodes:
            wait_until(
                lambda node=node: b"cluster_state:ok" in node.command("CLUSTER", "INFO"), "the cluster", within=60
            )
            wait_until(
                lambda node=node: b"cluster_known_nodes:3" in node.command("CLUSTER", "INFO"), "the nodes", within=60
            )
        yield nodes


@contextmanager
def sentinel(folder: Path, master: RedisServer) -> Iterator[RedisServer]:
    """A Sentinel that watches a master; its one vote is enough for a failover."""
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor jobs 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds jobs 1000\nsentinel failover-timeout jobs 5000\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [redis_command(), str(config), "--sentinel"], cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True
    )
    server = RedisServer(folder)
    server.port = port
    try:
        wait_until(lambda: server.command("PING") == b"+PONG\r\n", "Sentinel's answer")
        yield server
    finally:
        process.kill()
        process.wait(10)
