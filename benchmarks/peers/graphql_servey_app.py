"""Servey: the actions, and nothing else."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends

from benchmarks.peers import graphql_model as model
from servey import WEB_GET, BatchInvoker, Settings, action, create_app


@dataclass
class Person:
    id: int
    name: str
    email: str
    is_active: bool
    since: datetime

    @action(batch_invoker=BatchInvoker(model.points_of, max_batch_size=100, arg_extractor=lambda person: [person.id]))
    async def points(self) -> int:
        return self.id * 2

    @action
    async def label(self) -> str:
        return f"{self.name} <{self.email}>"


@action(triggers=WEB_GET)
async def hello(name: str) -> str:
    return f"Hello {name}!"


@action(triggers=WEB_GET)
async def welcome(name: str, greeting: Annotated[str, Depends(model.greeting)]) -> str:
    return f"{greeting} {name}!"


@action(triggers=WEB_GET)
async def people(count: int, first: int) -> list[Person]:
    return [Person(**vars(each)) for each in model.people(count, first)]


app = create_app(actions=[hello, welcome, people], settings=Settings(env="prod"))
