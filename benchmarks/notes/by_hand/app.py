"""The same notes with FastAPI, Strawberry and arq, put together by hand."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import strawberry
from arq import Retry, create_pool, cron
from arq.connections import RedisSettings
from fastapi import Depends, FastAPI, Query, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from redis.asyncio import Redis
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from strawberry.fastapi import GraphQLRouter

REDIS_URL = os.environ["REDIS_URL"]
engine = create_async_engine(os.environ["DATABASE_URL"])
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    words: Mapped[int | None]
    at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


async def open_session() -> AsyncIterator[AsyncSession]:
    async with sessions.begin() as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


class NoteIn(BaseModel):
    text: str = Field(min_length=1, max_length=200)


class Note(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    text: str
    words: int | None


# What both REST and GraphQL do.


async def save_note(session: AsyncSession, text: str) -> Row:
    row = Row(text=text)
    session.add(row)
    await session.flush()
    return row


async def latest_notes(session: AsyncSession, limit: int) -> list[Row]:
    return list((await session.scalars(select(Row).order_by(Row.id.desc()).limit(limit))).all())


async def enqueue_count(id: int) -> None:
    await app.state.jobs.enqueue_job("count_words", id)


# REST


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    app.state.jobs = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    app.state.subscribers = set()
    listening = asyncio.create_task(listen(app))
    yield
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    await app.state.jobs.aclose()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/notes", status_code=201)
async def add_note(note: NoteIn) -> Note:
    async with sessions.begin() as session:  # committed before the job is enqueued
        row = await save_note(session, note.text)
    await enqueue_count(row.id)
    return Note.model_validate(row)


@app.get("/notes")
async def notes(session: Session, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[Note]:
    return [Note.model_validate(row) for row in await latest_notes(session, limit)]


# Websockets: one subscription to Redis for each process, a queue for each socket


async def listen(app: FastAPI) -> None:
    async with Redis.from_url(REDIS_URL) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe("counted")
        async for message in pubsub.listen():
            if message["type"] == "message":
                for queue in list(app.state.subscribers):
                    with contextlib.suppress(asyncio.QueueFull):
                        queue.put_nowait(message["data"].decode())


@app.websocket("/live")
async def live(websocket: WebSocket) -> None:
    await websocket.accept()
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=1000)
    app.state.subscribers.add(queue)
    sending = asyncio.create_task(send_events(websocket, queue))
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        app.state.subscribers.discard(queue)
        sending.cancel()


async def send_events(websocket: WebSocket, queue: asyncio.Queue[str]) -> None:
    while True:
        await websocket.send_text(await queue.get())


# GraphQL


@strawberry.type
class NoteType:
    id: int
    text: str
    words: int | None

    @classmethod
    def of(cls, row: Row) -> "NoteType":
        return cls(id=row.id, text=row.text, words=row.words)


LIMIT = TypeAdapter(Annotated[int, Field(ge=1, le=100)])


@strawberry.type
class Queries:
    @strawberry.field
    async def notes(self, limit: int = 20) -> list[NoteType]:
        try:
            LIMIT.validate_python(limit)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None
        async with sessions.begin() as session:
            return [NoteType.of(row) for row in await latest_notes(session, limit)]


@strawberry.type
class Mutations:
    @strawberry.mutation
    async def add_note(self, text: str) -> NoteType:
        try:
            note = NoteIn(text=text)
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"]) from None
        async with sessions.begin() as session:
            row = await save_note(session, note.text)
        await enqueue_count(row.id)
        return NoteType.of(row)


app.include_router(GraphQLRouter(strawberry.Schema(Queries, Mutations)), prefix="/graphql")


# The worker: arq app.WorkerSettings


async def count_words(context: dict, id: int) -> None:
    try:
        async with sessions.begin() as session:
            row = await session.get(Row, id)
            if row is None:
                raise LookupError(f"There is no note {id}")
            row.words = len(row.text.split())
    except Exception as error:
        raise Retry(defer=2 ** context["job_try"]) from error
    await context["redis"].publish("counted", json.dumps(Note.model_validate(row).model_dump()))


async def drop_old_notes(context: dict) -> None:
    async with sessions.begin() as session:
        await session.execute(delete(Row).where(Row.at < datetime.now(UTC) - timedelta(days=30)))


class WorkerSettings:
    functions = [count_words]
    cron_jobs = [cron(drop_old_notes, second=0)]
    redis_settings = RedisSettings.from_dsn(REDIS_URL)
    max_tries = 3
    job_timeout = 15
