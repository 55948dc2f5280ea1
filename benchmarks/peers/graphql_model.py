"""The data that every peer serves: people, created for each request, and their fields."""

from dataclasses import dataclass
from datetime import datetime, timedelta

BORN = datetime(1990, 1, 1)


@dataclass
class Person:
    id: int
    name: str
    email: str
    is_active: bool
    since: datetime


def people(count: int, first: int) -> list[Person]:
    return [
        Person(number, f"Person {number}", f"p{number}@example.org", number % 3 == 0, BORN + timedelta(days=number))
        for number in range(first, first + count)
    ]


async def greeting() -> str:
    """A dependency: FastAPI's for Servey and Strawberry, a call for Ariadne, which has none."""
    return "Welcome"


BATCHES: list[int] = []
"""How many keys each batch had."""


async def points_of(ids: list[int]) -> list[int]:
    BATCHES.append(len(ids))
    return [id * 2 for id in ids]
