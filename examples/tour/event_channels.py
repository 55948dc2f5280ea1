"""What clients hear of as it happens."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field

from servey import websocket_event_channel


class Line(BaseModel):
    """What somebody says."""

    name: Annotated[str, Field(min_length=1, max_length=30)]
    text: Annotated[str, Field(min_length=1, max_length=500)]
    said_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


chat = websocket_event_channel("chat", Line, history=50, description="The talk of the shop's visitors.")
