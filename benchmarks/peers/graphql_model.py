"""What every peer answers: people, made anew for each request, and what is asked for about each of them."""

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


BATCHES: list[int] = []
"""How many keys each batch had."""


async def points_of(ids: list[int]) -> list[int]:
    BATCHES.append(len(ids))
    return [id * 2 for id in ids]
