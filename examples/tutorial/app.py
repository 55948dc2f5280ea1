# app.py
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from database import create_tables, engine
from fastapi import FastAPI

from servey import create_app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await create_tables()
    yield
    await engine.dispose()


servey_app = create_app(lifespan=lifespan)
