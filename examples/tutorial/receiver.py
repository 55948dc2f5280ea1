# receiver.py
"""A service that receives the webhook: `python receiver.py` listens on port 9000."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from typing import Any

RECEIVED: Queue[dict[str, Any]] = Queue()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(self.headers["webhook-id"], body.decode())
        RECEIVED.put(json.loads(body))
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", 9000), Receiver).serve_forever()
