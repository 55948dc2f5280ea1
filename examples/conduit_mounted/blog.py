"""What the project had before: tables, a session for each request, and its own users with tokens of their own."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ.get("BLOG_DATABASE_URL", "sqlite+aiosqlite:///blog.db"))
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    name: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(unique=True, default=lambda: secrets.token_urlsafe(24))


class Article(Base):
    __tablename__ = "articles"

    id: Mapped[int] = mapped_column(primary_key=True)
    author: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    title: Mapped[str]
    words: Mapped[int | None]


async def open_session() -> AsyncIterator[AsyncSession]:
    async with sessions.begin() as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session, scope="function")]


async def current_user(session: Session, token: Annotated[str, Depends(OAuth2PasswordBearer("/users"))]) -> User:
    user = await session.scalar(select(User).where(User.token == token))
    if user is None:
        raise HTTPException(401, "Wrong token")
    return user


CurrentUser = Annotated[User, Depends(current_user)]


async def current_name(user: CurrentUser) -> str:
    return user.name


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()
