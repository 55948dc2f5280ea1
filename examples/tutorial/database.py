# database.py
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

URL = os.environ.get("DESK_DATABASE_URL", "sqlite+aiosqlite:///desk.db")
engine = create_async_engine(URL)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class UserRow(Base):
    __tablename__ = "users"

    name: Mapped[str] = mapped_column(primary_key=True)
    password_hash: Mapped[str]
    is_agent: Mapped[bool] = mapped_column(default=False)


class TicketRow(Base):
    __tablename__ = "tickets"

    number: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    priority: Mapped[str]
    owner: Mapped[str] = mapped_column(index=True)  # the subject of a token
    is_open: Mapped[bool] = mapped_column(default=True)


class CommentRow(Base):
    __tablename__ = "comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    ticket: Mapped[int] = mapped_column(ForeignKey("tickets.number"), index=True)
    author: Mapped[str]
    text: Mapped[str]


async def open_session() -> AsyncIterator[AsyncSession]:
    """Yield a session: commit when the action has returned, roll back if it raised."""
    async with sessions.begin() as session:
        yield session


# scope="function" commits before the response is sent.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


async def create_tables() -> None:
    """Create missing tables; a real project uses migrations."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
