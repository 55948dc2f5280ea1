"""The plain ``def`` as an action with ``blocking=False``: it runs on the event loop."""

from benchmarks.peers.servey_app import SETTINGS
from servey import WEB_GET, action, create_app


@action(triggers=WEB_GET, blocking=False)
def hello_def(name: str) -> str:
    return f"Hello {name}!"


app = create_app(actions=[hello_def], settings=SETTINGS)
