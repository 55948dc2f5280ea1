"""The actions of this project: `servey dev` serves them, `servey call` calls them, `servey actions` lists them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from servey import WEB_GET, WEB_POST, Example, action


@dataclass
class Greeting:
    text: str
    at: datetime


@action(
    triggers=WEB_GET,
    examples=(Example(name="greet_developer", params={"name": "Developer"}, result="Hello Developer!"),),
)
def say_hello(name: str) -> str:
    """Greet a user!"""
    return f"Hello {name}!"


@action(triggers=WEB_POST)
async def greet(names: list[str]) -> list[Greeting]:
    """Greet everyone, and say when."""
    now = datetime.now(UTC)
    return [Greeting(say_hello(name), now) for name in names]
