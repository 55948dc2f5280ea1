# event_channels.py
import os

from models import Counts, Ticket

from servey import webhook_event_channel, websocket_event_channel

board_changes = websocket_event_channel("board", Counts, history=10, description="New numbers of the board.")
closed = webhook_event_channel(
    "closed",
    os.environ.get("DESK_WEBHOOK_URL", "http://127.0.0.1:9000/closed"),
    Ticket,
    secret=os.environ.get("DESK_WEBHOOK_SECRET"),
)
