"""Passwords, tokens, and the user who calls."""

import os
from datetime import UTC, datetime, timedelta
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from database import Session, User
from fastapi import Depends, HTTPException, Request
from jose import JWTError, jwt

SECRET = os.environ["JWT_SECRET_KEY"]
TOKEN_SECONDS = 7 * 24 * 3600
_hasher = PasswordHasher()
_at_once = CapacityLimiter(4)  # a hash needs 64 MiB of memory and a processor
_NO_HASH = _hasher.hash("nobody has this password")


async def hash_of(password: str) -> str:
    return await to_thread.run_sync(_hasher.hash, password, limiter=_at_once)


async def is_password(user: User | None, password: str) -> bool:
    """Whether this is the user's password; takes the same time if there is no such user."""
    try:
        stored = user.password_hash if user else _NO_HASH
        return await to_thread.run_sync(_hasher.verify, stored, password, limiter=_at_once) and user is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


def token_of(user: User) -> str:
    expires = datetime.now(UTC) + timedelta(seconds=TOKEN_SECONDS)
    return jwt.encode({"sub": str(user.id), "exp": expires}, SECRET, algorithm="HS256")


def unauthenticated(message: str) -> HTTPException:
    return HTTPException(401, {"token": [message]}, {"WWW-Authenticate": "Token"})


async def user_of(request: Request, session: Session) -> User | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "token"):
        return None
    try:
        subject = jwt.decode(token, SECRET, algorithms=["HS256"])["sub"]
    except (JWTError, KeyError):
        raise unauthenticated("is invalid") from None
    return await session.get(User, int(subject))


Viewer = Annotated[User | None, Depends(user_of)]


def known_user(user: Viewer) -> User:
    if user is None:
        raise unauthenticated("is missing")
    return user


CurrentUser = Annotated[User, Depends(known_user)]
