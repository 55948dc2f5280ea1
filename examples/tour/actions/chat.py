"""Publishing to an event channel; `/chat.html` shows it."""

from event_channels import Line, chat

from servey import WEB_POST, action


@action(triggers=WEB_POST, tags=("chat",))
async def say(line: Line) -> None:
    """Say something to everyone who listens."""
    await chat.publish(line)
