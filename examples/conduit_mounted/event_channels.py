"""Events for browsers, at /servey/subscription/published and as a GraphQL subscription."""

from servey import websocket_event_channel

published = websocket_event_channel("published", str, history=20, description="The titles of new articles.")
