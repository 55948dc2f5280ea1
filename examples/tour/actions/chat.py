"""Publishing to an event channel; `/chat.html` shows it."""

from event_channels import Line, chat

from servey import WEB_POST, action


@action(triggers=WEB_POST, tags=("chat",))
async def say(line: Line) -> None:
    """Send a message to all subscribers."""
    await chat.publish(line)
