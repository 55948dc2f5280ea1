"""A background channel is refused at the start if its events could never be handled."""

from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Header, Request
from starlette.responses import PlainTextResponse

from servey import ConfigError, Settings, action, background_action_channel, create_app

DEV = Settings(env="dev")


@action
def needs_request(request: Request, n: int) -> None: ...


@action
def needs_header(x_key: Annotated[str, Header()], n: int) -> None: ...


@action
async def streams(n: int) -> AsyncIterator[int]:
    yield n


@action
def answers(n: int) -> PlainTextResponse:
    return PlainTextResponse("text")


@action
def fits(n: int, x_key: Annotated[str, Header()] = "none") -> None: ...


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (needs_request, "it needs the request, as 'request'"),
        (needs_header, "it needs the header 'x-key'"),
        (streams, "it is a stream"),
        (answers, "it returns whole responses"),
    ],
)
def test_an_action_that_cannot_be_a_job(made, reason):
    channel = background_action_channel(made, name="made")
    with pytest.raises(ConfigError, match=rf"cannot be called by the events of channel 'made': {reason}"):
        create_app(actions=[], channels=[channel], settings=DEV)


def test_an_action_that_can():
    create_app(actions=[], channels=[background_action_channel(fits)], settings=DEV)
