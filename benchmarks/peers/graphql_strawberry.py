"""The same, written by hand for Strawberry, as its documentation does."""

from datetime import datetime
from typing import Annotated, Any

import strawberry
from fastapi import Depends, FastAPI
from strawberry.dataloader import DataLoader
from strawberry.fastapi import GraphQLRouter

from benchmarks.peers import graphql_model as model


@strawberry.type
class Person:
    id: int
    name: str
    email: str
    is_active: bool
    since: datetime

    @strawberry.field
    async def points(self, info: strawberry.Info) -> int:
        return await info.context["points"].load(self.id)

    @strawberry.field
    async def label(self) -> str:
        return f"{self.name} <{self.email}>"


@strawberry.type
class Query:
    @strawberry.field
    async def hello(self, name: str) -> str:
        return f"Hello {name}!"

    @strawberry.field
    async def welcome(self, info: strawberry.Info, name: str) -> str:
        return f"{info.context['greeting']} {name}!"

    @strawberry.field
    async def people(self, count: int, first: int) -> list[Person]:
        return [Person(**vars(each)) for each in model.people(count, first)]


async def context(greeting: Annotated[str, Depends(model.greeting)]) -> dict[str, Any]:
    return {"points": DataLoader(model.points_of, max_batch_size=100), "greeting": greeting}


def build(extensions: list[Any]) -> FastAPI:
    made = FastAPI()
    router = GraphQLRouter(strawberry.Schema(Query, extensions=extensions), context_getter=context)
    made.include_router(router, prefix="/graphql")
    return made
