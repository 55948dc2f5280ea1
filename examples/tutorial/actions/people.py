# actions/people.py
from typing import Annotated

from accounts import hash_of, is_password
from database import Session, UserRow
from pydantic import Field
from sqlalchemy.exc import IntegrityError

from servey import WEB_POST, ActionError, Conflict, NotFound, action, issue_token

Name = Annotated[str, Field(pattern=r"^[a-z]{2,20}$")]
Password = Annotated[str, Field(min_length=8, max_length=100)]


@action(triggers=WEB_POST)
async def sign_up(name: Name, password: Password, session: Session) -> None:
    """Create a user."""
    session.add(UserRow(name=name, password_hash=await hash_of(password)))
    try:
        await session.flush()
    except IntegrityError:
        raise Conflict(f"The name '{name}' is taken") from None


@action(triggers=WEB_POST)
async def sign_in(name: Name, password: str, session: Session) -> str:
    """Return a token that is valid for an hour."""
    user = await session.get(UserRow, name)
    if user is None or not await is_password(password, user.password_hash):
        raise ActionError(401, "wrong_password", "Wrong name or password")
    return issue_token(name, scopes=["agent"] if user.is_agent else [])


@action
async def make_agent(name: str, session: Session) -> None:
    """Let a user close tickets. It has no trigger, so only the command line can call it."""
    user = await session.get(UserRow, name)
    if user is None:
        raise NotFound(f"There is no user '{name}'")
    user.is_agent = True
