"""Registration, login, the caller's own account, profiles."""

import re
from typing import Annotated

from database import Session, User, follows, insert_once
from fastapi import APIRouter, Body, HTTPException
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from views import Account, Credentials, NewUser, OneProfile, OneUser, UserChange, profile_of

from benchmarks.peers.conduit_fastapi.accounts import CurrentUser, Viewer, hash_of, is_password, token_of

router = APIRouter()


def account(user: User) -> OneUser:
    return OneUser(
        user=Account(username=user.username, email=user.email, bio=user.bio, image=user.image, token=token_of(user))
    )


async def save(session: Session, user: User) -> None:
    try:
        session.add(user)
        await session.flush()
    except IntegrityError as error:
        taken = re.search(r"users[._](email|username)", str(error.orig))
        raise HTTPException(422, {taken[1] if taken else "user": ["has already been taken"]}) from error


@router.post("/users", status_code=201, tags=["users"])
async def register(user: Annotated[NewUser, Body(embed=True)], session: Session) -> OneUser:
    """Create a user."""
    new = User(username=user.username, email=user.email, password_hash=await hash_of(user.password))
    await save(session, new)
    return account(new)


@router.post("/users/login", tags=["users"])
async def log_in(user: Annotated[Credentials, Body(embed=True)], session: Session) -> OneUser:
    """Return a user's account and token for an email address and a password."""
    found = await session.scalar(select(User).where(User.email == user.email.lower()))
    if not await is_password(found, user.password) or found is None:
        raise HTTPException(401, {"email or password": ["is invalid"]})
    return account(found)


@router.get("/user", tags=["users"])
async def get_current_user(user: CurrentUser) -> OneUser:
    """Return the caller's account."""
    return account(user)


@router.put("/user", tags=["users"])
async def update_current_user(
    user: Annotated[UserChange, Body(embed=True)], caller: CurrentUser, session: Session
) -> OneUser:
    """Change the fields that are sent. Only bio and image can be null."""
    changes = user.model_dump(exclude_unset=True)
    password = changes.pop("password", None)
    if password is not None:
        caller.password_hash = await hash_of(password)
    for name, value in changes.items():
        if value is not None or name in ("bio", "image"):
            setattr(caller, name, value)
    await save(session, caller)
    return account(caller)


async def find_user(session: Session, username: str) -> User:
    found = await session.scalar(select(User).where(User.username == username))
    if found is None:
        raise HTTPException(404, "There is no such profile")
    return found


@router.get("/profiles/{username}", tags=["profiles"])
async def get_profile(username: str, session: Session, viewer: Viewer) -> OneProfile:
    """Return a user's public profile."""
    return OneProfile(profile=await profile_of(session, await find_user(session, username), viewer))


@router.post("/profiles/{username}/follow", tags=["profiles"])
async def follow(username: str, session: Session, caller: CurrentUser) -> OneProfile:
    """Follow a user."""
    user = await find_user(session, username)
    await insert_once(session, follows, follower_id=caller.id, followed_id=user.id)
    return OneProfile(profile=await profile_of(session, user, caller))


@router.delete("/profiles/{username}/follow", tags=["profiles"])
async def unfollow(username: str, session: Session, caller: CurrentUser) -> OneProfile:
    """Stop following a user."""
    user = await find_user(session, username)
    await session.execute(delete(follows).where(follows.c.follower_id == caller.id, follows.c.followed_id == user.id))
    return OneProfile(profile=await profile_of(session, user, caller))
