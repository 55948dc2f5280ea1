"""A client with many connections in one thread, quick enough that the server is the bottleneck.

Each connection sends the next request when it has the whole response to the last one.
"""

from __future__ import annotations

import re
import select
import socket
import time
from dataclasses import dataclass, field

from benchmarks.cases import Case

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass
class Load:
    """What a load has measured; ``seconds`` are the latencies of all requests."""

    requests: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        """The seconds within which 99 of 100 requests are answered."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


@dataclass
class _Connection:
    socket: socket.socket
    begun: float = 0.0
    read: bytes = b""


def request_of(case: Case) -> bytes:
    """Return the bytes of a request, as a browser sends them."""
    path = case.path + (f"?{case.query}" if case.query else "")
    lines = [f"{case.method} {path} HTTP/1.1".encode(), *(name + b": " + value for name, value in case.all_headers)]
    return b"\r\n".join([*lines, b"", b""]) + case.body


def is_whole(response: bytes) -> bool:
    """Whether a response has arrived completely. Errors: RuntimeError for another status than 200."""
    head, end, body = response.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(response[:500].decode(errors="replace"))
    length = _LENGTH.search(head + b"\r\n")
    return len(body) >= int(length[1]) if length is not None else (b"\r\n" + body).endswith(_LAST_CHUNK)


def load(port: int, case: Case, seconds: float, connections: int) -> Load:
    """Send requests for this many seconds; every response must be a 200."""
    request = request_of(case)
    poll = select.epoll()
    opened: dict[int, _Connection] = {}
    found = Load()
    try:
        for _ in range(connections):
            connected = socket.create_connection(("127.0.0.1", port))
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened[connected.fileno()] = _Connection(connected)
            poll.register(connected, select.EPOLLIN)
        clock = time.perf_counter
        end = clock() + seconds
        for each in opened.values():
            each.begun = clock()
            each.socket.sendall(request)
        size = 0
        waiting = len(opened)
        while waiting:
            for number, _ in poll.poll(60):
                each = opened[number]
                read = each.socket.recv(1 << 18)
                if not read:
                    raise RuntimeError(f"{case.name}: the server closed the connection")
                each.read = read = each.read + read if each.read else read
                # Nearly all responses have the length of the first one.
                if len(read) != size or not read.startswith(b"HTTP/1.1 200"):
                    if not is_whole(read):
                        continue
                    size = len(read)
                now = clock()
                found.requests += 1
                found.seconds.append(now - each.begun)
                each.read = b""
                if now >= end:
                    waiting -= 1
                    continue
                each.begun = now
                each.socket.sendall(request)
    finally:
        poll.close()
        for each in opened.values():
            each.socket.close()
    return found
