"""The REST API: `uvicorn benchmarks.peers.conduit_fastapi.app:app`."""

from fastapi import FastAPI

from benchmarks.peers.conduit_fastapi import articles, create, users
from benchmarks.peers.conduit_fastapi.base import HANDLERS, tables

app = FastAPI(title="Conduit", lifespan=tables, exception_handlers=HANDLERS)
for router in (users.router, articles.router, create.router):
    app.include_router(router, prefix="/api")
