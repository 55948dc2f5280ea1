"""The app: `uvicorn benchmarks.peers.conduit_by_hand.app:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from benchmarks.peers.conduit_by_hand import create, events, graph, jobs, page
from benchmarks.peers.conduit_fastapi import articles, users
from benchmarks.peers.conduit_fastapi.base import HANDLERS, tables


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with tables(app):
        app.state.redis = await events.connect()
        yield
        await app.state.redis.aclose()


app = FastAPI(title="Conduit", lifespan=lifespan, exception_handlers=HANDLERS)
for router in (users.router, articles.router, create.router, jobs.router):
    app.include_router(router, prefix="/api")
app.include_router(graph.router, prefix="/graphql")
app.include_router(events.router)
app.include_router(page.router)
