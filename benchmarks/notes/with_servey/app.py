"""Notes with Servey."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from servey import (
    Context,
    FixedRateTrigger,
    NotFound,
    Retry,
    WebTrigger,
    action,
    create_app,
    websocket_event_channel,
)

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


class Note(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    text: str
    words: int | None


counted = websocket_event_channel("counted", Note)


@action(triggers=WebTrigger("POST", "/notes", status_code=201))
async def add_note(
    text: Annotated[str, Field(min_length=1, max_length=200)], session: Session, context: Context
) -> Note:
    row = Row(text=text)
    session.add(row)
    await session.flush()
    await context.enqueue(count_words, {"id": row.id}, on_success=True)
    return row


@action(triggers=WebTrigger("GET", "/notes"))
async def notes(session: Session, limit: Annotated[int, Field(ge=1, le=100)] = 20) -> list[Note]:
    return (await session.scalars(select(Row).order_by(Row.id.desc()).limit(limit))).all()


@action(retry=Retry(max_tries=3))
async def count_words(id: int, session: Session) -> None:
    row = await session.get(Row, id)
    if row is None:
        raise NotFound("There is no such note")
    row.words = len(row.text.split())
    await counted.publish(Note.model_validate(row), on_success=True)


@action(triggers=FixedRateTrigger(60))
async def drop_old_notes(session: Session) -> None:
    await session.execute(delete(Row).where(Row.at < datetime.now(UTC) - timedelta(days=30)))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


servey_app = create_app(actions=[add_note, notes, count_words, drop_old_notes], channels=[counted], lifespan=lifespan)
