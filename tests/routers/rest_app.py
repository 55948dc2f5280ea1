"""An app of the given actions, for tests of REST."""

from dataclasses import dataclass
from enum import StrEnum

from servey import (
    WEB_GET,
    WEB_POST,
    Settings,
    action,
    create_app,
)
from servey.testing import client

DEV = Settings(env="dev")


def serve(*actions, settings=DEV, **kwargs):
    return client(create_app(actions=actions, settings=settings, **kwargs))


class Color(StrEnum):
    red = "red"
    green = "green"


@dataclass
class Spot:
    x: int
    label: str = "here"
    inner: "Spot | None" = None


@action(triggers=(WEB_GET, WEB_POST))
async def look(
    p: Spot | None = None,
    tags: list[str] | None = None,
    colors: frozenset[Color] = frozenset(),
    name: str = "",
    n: int = 0,
) -> dict:
    return {"p": p, "tags": tags, "colors": sorted(colors), "name": name, "n": n}
