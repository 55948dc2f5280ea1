"""Exit with 0 if this container's process, a server or a worker, is ready."""

import os
import socket
import sys

port = int(os.environ.get("SERVEY_WORKER_PORT") or os.environ.get("SERVEY_PORT") or 8000)
# Without urllib: this runs every few seconds in every container, and importing it would take most of the time.
try:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = connection.recv(64)
except OSError as error:
    sys.exit(f"port {port} does not answer: {error}")
if b" 200 " not in answer[:16]:
    sys.exit(f"not ready: {answer[:32]!r}")
