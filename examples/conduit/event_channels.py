"""What happens after a new article: browsers get an event, and a job notifies the followers."""

from actions.notifications import notify_followers
from pydantic import BaseModel

from servey import background_action_channel, websocket_event_channel


class Published(BaseModel):
    """The event of a new article."""

    slug: str
    title: str
    author: str


published = websocket_event_channel("published", Published, history=20, description="New articles.")
notifying = background_action_channel(notify_followers, name="notifying")
