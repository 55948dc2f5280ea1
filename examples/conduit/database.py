"""The tables, and one session for each call."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends
from sqlalchemy import Column, ForeignKey, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

# In production: postgresql+asyncpg://user:password@host/database
URL = os.environ.get("CONDUIT_DATABASE_URL", "sqlite+aiosqlite:///conduit.db")
engine = create_async_engine(URL, pool_pre_ping=True)
sessions = async_sessionmaker(engine, expire_on_commit=False)


if engine.dialect.name == "sqlite":

    @event.listens_for(engine.sync_engine, "connect")
    def enforce_foreign_keys(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA foreign_keys=ON")


async def open_session() -> AsyncIterator[AsyncSession]:
    """Yield a session: commit when the action has returned, roll back if it raised."""
    async with sessions.begin() as session:
        yield session


# scope="function" commits before the response is sent, so the client can read what it wrote.
Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


def now() -> datetime:
    """Return the time in UTC without a time zone, because SQLite cannot store one."""
    return datetime.now(UTC).replace(tzinfo=None)


def belongs_to(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


class Base(DeclarativeBase):
    pass


follows = Table(
    "follows",
    Base.metadata,
    Column("follower_id", belongs_to("users.id"), primary_key=True),
    Column("followed_id", belongs_to("users.id"), primary_key=True, index=True),
)
favorites = Table(
    "favorites",
    Base.metadata,
    Column("user_id", belongs_to("users.id"), primary_key=True),
    Column("article_id", belongs_to("articles.id"), primary_key=True, index=True),
)


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    bio: Mapped[str | None]
    image: Mapped[str | None]


class Article(Base):
    __tablename__ = "articles"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    description: Mapped[str]
    body: Mapped[str]
    author_id: Mapped[int] = mapped_column(belongs_to("users.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    author: Mapped[User] = relationship(lazy="selectin")
    tags: Mapped[list["Tag"]] = relationship(lazy="selectin", order_by="Tag.name", cascade="all, delete-orphan")


class Tag(Base):
    """A tag of one article."""

    __tablename__ = "tags"

    article_id: Mapped[int] = mapped_column(belongs_to("articles.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, index=True)


class Comment(Base):
    __tablename__ = "comments"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    article_id: Mapped[int] = mapped_column(belongs_to("articles.id"), index=True)
    author_id: Mapped[int] = mapped_column(belongs_to("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    author: Mapped[User] = relationship(lazy="selectin")


class Notification(Base):
    """A follower is told about an article, once."""

    __tablename__ = "notifications"

    user_id: Mapped[int] = mapped_column(belongs_to("users.id"), primary_key=True)
    article_id: Mapped[int] = mapped_column(belongs_to("articles.id"), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)


async def insert_once(session: AsyncSession, table: Any, **row: Any) -> None:
    """Insert a row, unless it exists; safe for concurrent calls."""
    insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[engine.dialect.name]
    await session.execute(insert(table).values(row).on_conflict_do_nothing())
