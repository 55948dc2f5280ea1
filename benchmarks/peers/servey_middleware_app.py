"""Actions, with a user's middleware."""

from benchmarks.peers.middleware import Stamp
from benchmarks.peers.servey_app import ACTIONS, SETTINGS
from servey import create_app

app = create_app(actions=ACTIONS, settings=SETTINGS)
app.add_middleware(Stamp)
