"""Passwords, tokens, and the user who calls."""

from typing import Annotated

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from database import Session, User
from fastapi import Depends

from servey import ActionError, Authorization, issue_token

_hasher = PasswordHasher()
_at_once = CapacityLimiter(4)  # a hash needs 64 MiB of memory and a processor
_NO_HASH = _hasher.hash("nobody has this password")
TOKEN_SECONDS = 7 * 24 * 3600


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
    return issue_token(str(user.id), expires_in=TOKEN_SECONDS)


async def user_of(session: Session, authorization: Authorization | None) -> User | None:
    subject = authorization.subject_id if authorization else None
    return await session.get(User, int(subject)) if subject and subject.isdecimal() else None


# This has a required Authorization, so that an anonymous caller gets 401 before the request is validated.
async def known_user(session: Session, authorization: Authorization) -> User:
    user = await user_of(session, authorization)
    if user is None:
        raise ActionError(401, "unauthenticated", {"token": ["belongs to no user"]})
    return user


CurrentUser = Annotated[User, Depends(known_user)]
Viewer = Annotated[User | None, Depends(user_of)]
