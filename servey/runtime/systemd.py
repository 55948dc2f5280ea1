"""Says to systemd that a service has started or stops, for units with ``Type=notify``."""

from __future__ import annotations

import logging
import os
import socket

logger: logging.Logger = logging.getLogger("servey")

READY, STOPPING = "READY=1", "STOPPING=1"
_SECONDS = 1


def notify(state: str) -> None:
    """Send one state to the socket that NOTIFY_SOCKET names; without it, do nothing. A failure is only logged.

    Source: sd_notify(3).
    """
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    address = f"\0{place[1:]}" if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SECONDS)
            sender.connect(address)
            sender.send(state.encode())
    except OSError as error:
        logger.warning("systemd does not know about %s: %s", state, error)
