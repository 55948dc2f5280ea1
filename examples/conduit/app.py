"""The app: `servey run` finds `servey_app` here; `uvicorn app:servey_app` works too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from database import Base, engine
from fastapi import FastAPI

from servey import ErrorFacts, Settings, create_app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Create the tables of a new SQLite file; other databases have migrations. Close the connections at the end."""
    if engine.dialect.name == "sqlite":
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


def realworld_error(error: ErrorFacts) -> dict[str, Any]:
    """Return an error in the shape of the RealWorld API."""
    errors: dict[str, list[str]] = {}
    if isinstance(error.detail, dict):
        errors = error.detail
    elif isinstance(error.detail, list):
        for each in error.detail:
            errors.setdefault(str(each["loc"][-1]), []).append(each["msg"])
    else:
        errors["body"] = [error.detail]
    return {"errors": errors}


servey_app = create_app(
    settings=Settings(api_title="Conduit", token_schemes=("Bearer", "Token")), lifespan=lifespan, errors=realworld_error
)
