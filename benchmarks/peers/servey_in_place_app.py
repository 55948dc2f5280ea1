"""The plain def, run in place, as an action that says that it does not block."""

from benchmarks.peers.servey_app import SETTINGS
from servey import WEB_GET, action, create_app


@action(triggers=WEB_GET, blocking=False)
def hello_def(name: str) -> str:
    return f"Hello {name}!"


app = create_app(actions=[hello_def], settings=SETTINGS)
