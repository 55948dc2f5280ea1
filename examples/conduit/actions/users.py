"""Registration, login, the caller's own account, profiles."""

import re

from accounts import CurrentUser, Viewer, hash_of, is_password, token_of
from database import Session, User, follows, insert_once
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from views import Account, Credentials, NewUser, OneProfile, OneUser, UserChange, profile_of

from servey import ActionError, NotFound, WebTrigger, action


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
        raise ActionError(422, "taken", {taken[1] if taken else "user": ["has already been taken"]}) from error


@action(triggers=WebTrigger("POST", "/api/users"), status_code=201, tags=("users",))
async def register(user: NewUser, session: Session) -> OneUser:
    """Create a user."""
    new = User(username=user.username, email=user.email, password_hash=await hash_of(user.password))
    await save(session, new)
    return account(new)


@action(triggers=WebTrigger("POST", "/api/users/login"), tags=("users",))
async def log_in(user: Credentials, session: Session) -> OneUser:
    """Return a user's account and token for an email address and a password."""
    found = await session.scalar(select(User).where(User.email == user.email.lower()))
    if not await is_password(found, user.password) or found is None:
        raise ActionError(401, "unauthenticated", {"email or password": ["is invalid"]})
    return account(found)


@action(triggers=WebTrigger("GET", "/api/user"), tags=("users",))
async def get_current_user(user: CurrentUser) -> OneUser:
    """Return the caller's account."""
    return account(user)


@action(triggers=WebTrigger("PUT", "/api/user"), tags=("users",))
async def update_current_user(user: UserChange, caller: CurrentUser, session: Session) -> OneUser:
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
        raise NotFound("There is no such profile")
    return found


@action(triggers=WebTrigger("GET", "/api/profiles/{username}"), tags=("profiles",))
async def get_profile(username: str, session: Session, viewer: Viewer) -> OneProfile:
    """Return a user's public profile."""
    return OneProfile(profile=await profile_of(session, await find_user(session, username), viewer))


@action(triggers=WebTrigger("POST", "/api/profiles/{username}/follow"), tags=("profiles",))
async def follow(username: str, session: Session, caller: CurrentUser) -> OneProfile:
    """Follow a user."""
    user = await find_user(session, username)
    await insert_once(session, follows, follower_id=caller.id, followed_id=user.id)
    return OneProfile(profile=await profile_of(session, user, caller))


@action(triggers=WebTrigger("DELETE", "/api/profiles/{username}/follow"), tags=("profiles",))
async def unfollow(username: str, session: Session, caller: CurrentUser) -> OneProfile:
    """Stop following a user."""
    user = await find_user(session, username)
    await session.execute(delete(follows).where(follows.c.follower_id == caller.id, follows.c.followed_id == user.id))
    return OneProfile(profile=await profile_of(session, user, caller))
