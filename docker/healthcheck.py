"""Ends with 0 where this container's process is ready; the port is that of the server, or of the worker."""

import os
import socket
import sys

port = int(os.environ.get("SERVEY_WORKER_PORT") or os.environ.get("SERVEY_PORT") or 8000)
# Not by urllib: this runs every few seconds in every container, and its import alone would cost most of that.
try:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = connection.recv(64)
except OSError as error:
    sys.exit(f"port {port} does not answer: {error}")
if b" 200 " not in answer[:16]:
    sys.exit(f"not ready: {answer[:32]!r}")
