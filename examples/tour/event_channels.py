"""Event channels: for browsers, for background jobs, and for a webhook."""

import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from actions.routine import pack_order
from pydantic import BaseModel, Field

from servey import background_action_channel, webhook_event_channel, websocket_event_channel


class Line(BaseModel):
    """A chat message."""

    name: Annotated[str, Field(min_length=1, max_length=30)]
    text: Annotated[str, Field(min_length=1, max_length=500)]
    said_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


chat = websocket_event_channel("chat", Line, history=50, description="The talk of the shop's visitors.")


packing = background_action_channel(pack_order, name="packing", delay=60)


class Takings(BaseModel):
    """The event of a new order."""

    orders: int
    total: Decimal


accounts = webhook_event_channel(
    "accounts",
    os.environ.get("ACCOUNTS_URL", "https://accounts.example/takings"),
    Takings,
    secret=os.environ.get("ACCOUNTS_SECRET"),
)
