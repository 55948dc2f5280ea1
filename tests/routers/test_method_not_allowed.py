"""405 names the methods of a path in ``Allow``, however the app is served."""

from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from servey import WEB_GET, Servey, Settings, WebTrigger, action, create_app

DEV = Settings(env="dev")


@action(triggers=[WEB_GET, WebTrigger("PUT", "/actions/plain")])
def plain(n: int = 1) -> int:
    return n


def alone() -> FastAPI:
    return create_app(actions=[plain], settings=DEV)


def mounted() -> FastAPI:
    app = create_app(actions=[plain], settings=DEV)

    @asynccontextmanager
    async def lifespan(host: FastAPI):
        async with app.running():
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/host", app)
    return host


def installed() -> FastAPI:
    host = FastAPI()
    Servey(actions=[plain], settings=DEV).install(host, prefix="/host")
    return host


@pytest.mark.parametrize(("made", "prefix"), [(alone, ""), (mounted, "/host"), (installed, "/host")])
def test_allow_has_every_method_of_the_path(made, prefix):
    with TestClient(made()) as http:
        for headers in ({}, {"Prefer": "handling=lenient"}):
            answer = http.delete(f"{prefix}/actions/plain", headers=headers)
            assert answer.status_code == 405
            assert answer.headers["allow"] == "GET, HEAD, PUT"
