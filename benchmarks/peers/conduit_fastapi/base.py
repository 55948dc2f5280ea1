"""What the app starts with, and its errors in the shape of the RealWorld API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from database import Base, engine
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


@asynccontextmanager
async def tables(app: FastAPI) -> AsyncIterator[None]:
    """Create the tables of a new SQLite file; other databases have migrations. Close the connections at the end."""
    if engine.dialect.name == "sqlite":
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


async def refused(request: Request, error: HTTPException) -> JSONResponse:
    detail: Any = error.detail
    errors = detail if isinstance(detail, dict) else {"body": [detail]}
    return JSONResponse({"errors": errors}, error.status_code, headers=error.headers)


async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    errors: dict[str, list[str]] = {}
    for each in error.errors():
        errors.setdefault(str(each["loc"][-1]), []).append(each["msg"])
    return JSONResponse({"errors": errors}, 422)


async def unexpected(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"errors": {"body": ["Internal Server Error"]}}, 500)


HANDLERS: Any = {HTTPException: refused, RequestValidationError: invalid, Exception: unexpected}
