"""The same notes with Litestar, its channels, Strawberry and SAQ."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import strawberry
from litestar import Litestar, get, post
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.redis import RedisChannelsPubSubBackend
from litestar.params import Parameter
from litestar_saq import CronJob, QueueConfig, SAQConfig, SAQPlugin, TaskQueues
from redis.asyncio import Redis
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from strawberry.litestar import make_graphql_controller
from strawberry.types import Info

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


class NoteIn(msgspec.Struct):
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Note(msgspec.Struct):
    id: int
    text: str
    words: int | None

    @classmethod
    def of(cls, row: Row) -> "Note":
        return cls(id=row.id, text=row.text, words=row.words)


# What both REST and GraphQL do.


async def save_note(text: str, queues: TaskQueues) -> Row:
    async with sessions.begin() as session:
        row = Row(text=text)
        session.add(row)
    await queues.get("default").enqueue("count_words", id=row.id, retries=3, retry_delay=1, retry_backoff=True)
    return row


async def latest_notes(limit: int) -> list[Row]:
    async with sessions.begin() as session:
        return list((await session.scalars(select(Row).order_by(Row.id.desc()).limit(limit))).all())


# REST


@post("/notes")
async def add_note(data: NoteIn, task_queues: TaskQueues) -> Note:
    return Note.of(await save_note(data.text, task_queues))


@get("/notes")
async def notes(limit: Annotated[int, Parameter(ge=1, le=100)] = 20) -> list[Note]:
    return [Note.of(row) for row in await latest_notes(limit)]


# GraphQL


@strawberry.type
class NoteType:
    id: int
    text: str
    words: int | None

    @classmethod
    def of(cls, row: Row) -> "NoteType":
        return cls(id=row.id, text=row.text, words=row.words)


@strawberry.type
class Queries:
    @strawberry.field
    async def notes(self, limit: int = 20) -> list[NoteType]:
        if not 1 <= limit <= 100:
            raise ValueError("limit: use 1 to 100")
        return [NoteType.of(row) for row in await latest_notes(limit)]


@strawberry.type
class Mutations:
    @strawberry.mutation
    async def add_note(self, info: Info, text: str) -> NoteType:
        try:
            note = msgspec.convert({"text": text}, NoteIn)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        queues = info.context["request"].app.plugins.get(SAQPlugin).config.get_queues()
        return NoteType.of(await save_note(note.text, queues))


# The worker: litestar --app app:app workers run


async def count_words(context: dict, *, id: int) -> None:
    async with sessions.begin() as session:
        row = await session.get(Row, id)
        if row is None:
            raise LookupError(f"There is no note {id}")
        row.words = len(row.text.split())
    async with Redis.from_url(REDIS_URL) as redis:
        await RedisChannelsPubSubBackend(redis=redis).publish(msgspec.json.encode(Note.of(row)), ["counted"])


async def drop_old_notes(context: dict) -> None:
    async with sessions.begin() as session:
        await session.execute(delete(Row).where(Row.at < datetime.now(UTC) - timedelta(days=30)))


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = Litestar(
    route_handlers=[add_note, notes, make_graphql_controller(strawberry.Schema(Queries, Mutations), path="/graphql")],
    lifespan=[lifespan],
    plugins=[
        ChannelsPlugin(
            backend=RedisChannelsPubSubBackend(redis=Redis.from_url(REDIS_URL)),
            channels=["counted"],
            create_ws_route_handlers=True,
            ws_handler_base_path="/live",
        ),
        SAQPlugin(
            SAQConfig(
                queue_configs=[
                    QueueConfig(
                        dsn=REDIS_URL,
                        name="default",
                        tasks=[count_words],
                        scheduled_tasks=[CronJob(function=drop_old_notes, cron="* * * * *", timeout=15)],
                    )
                ]
            )
        ),
    ],
)
