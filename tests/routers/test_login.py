"""A password for a token."""

import asyncio
import logging

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from servey import WEB_GET, ActionError, Authorization, ScopeAccessControl, Servey, Settings, action, create_app
from servey.auth.tries import CountsInMemory, Throttle
from servey.routers.login import OnePassword
from servey.runtime.parts import Parts
from servey.testing import client

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
RIGHT = {"username": "root", "password": "open sesame"}


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
async def guarded(authorization: Authorization) -> dict[str, object]:
    assert authorization.expire_at is not None
    return {"subject": authorization.subject_id, "scopes": sorted(authorization.scopes)}


def app(**settings):
    return create_app(
        actions=[guarded], settings=Settings(**{"env": "dev", "login_password": "open sesame", **settings})
    )


def test_a_login_gives_a_token_that_opens():
    with client(app()) as http:
        given = http.post("/login", data=RIGHT).json()
        assert (given["token_type"], given["expires_in"]) == ("bearer", 3600)
        bearer = {"Authorization": f"Bearer {given['access_token']}"}
        assert http.get("/actions/guarded", headers=bearer).json() == {"subject": "root", "scopes": ["root"]}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"username": "root", "password": "wrong"}, 401),
        ({"username": "toor", "password": "open sesame"}, 401),
        ({"username": "", "password": ""}, 422),
        ({"username": "röot", "password": "☃"}, 401),
        ({"username": "root"}, 422),
        ({}, 422),
    ],
)
def test_what_is_refused(data, status):
    with client(app()) as http:
        answer = http.post("/login", data=data)
    assert answer.status_code == status
    if status == 401:
        assert answer.json() == {"detail": "Wrong name or password", "code": "unauthenticated"}
        assert answer.headers["www-authenticate"] == "Bearer"


def test_too_many_wrong_tries():
    with client(app()) as http:
        for _ in range(5):
            assert http.post("/login", data={**RIGHT, "password": "x"}).status_code == 401
        answer = http.post("/login", data=RIGHT)
    assert (answer.status_code, answer.json()["code"]) == (429, "http_429")
    assert 0 < int(answer.headers["retry-after"]) <= 61


@pytest.mark.anyio
async def test_tries_are_forgiven_after_a_minute():
    now = 0.0
    throttle = Throttle(counts=CountsInMemory(lambda: now))

    async def wrong() -> None:
        async with throttle.one_try("1.2.3.4", "ada"):
            pass

    for _ in range(5):
        await wrong()
    now = 59.0
    with pytest.raises(ActionError, match="Too many") as refused:
        await wrong()
    assert refused.value.headers["Retry-After"] == "2"
    now = 60.0
    await wrong()


def wrong_status(http, username="root"):
    return http.post("/login", data={"username": username, "password": "x"}).status_code


def test_one_caller_does_not_lock_out_another():
    served = app()
    with TestClient(served, client=("1.2.3.4", 1)) as http, TestClient(served, client=("5.6.7.8", 1)) as other:
        assert [wrong_status(http) for _ in range(6)] == [401] * 5 + [429]
        assert wrong_status(http, "ada") == 401
        assert other.post("/login", data=RIGHT).status_code == 200


def test_callers_by_ipv4_of_a_server_that_listens_on_ipv6_are_told_apart():
    served = app()
    with (
        TestClient(served, client=("::ffff:1.2.3.4", 1)) as http,
        TestClient(served, client=("::ffff:5.6.7.8", 1)) as other,
    ):
        assert [wrong_status(http) for _ in range(6)] == [401] * 5 + [429]
        assert other.post("/login", data=RIGHT).status_code == 200


def test_many_names_of_one_caller_and_many_callers_of_one_name():
    served = app()
    with TestClient(served, client=("1.2.3.4", 1)) as http:
        assert [wrong_status(http, f"user {number}") for number in range(21)] == [401] * 20 + [429]
    # All addresses of such a network can be of one caller.
    with TestClient(served, client=("2001:db8::1", 1)) as one, TestClient(served, client=("2001:db8::2", 1)) as two:
        assert [wrong_status(one), *[wrong_status(two) for _ in range(5)]] == [401] * 5 + [429]
    statuses = []
    for number in range(60):
        with TestClient(served, client=(f"10.0.0.{number}", 1)) as http:
            statuses.append(wrong_status(http, "ada"))
    assert statuses == [401] * 50 + [429] * 10


def test_processes_share_the_tries_over_redis(redis):
    first, second = (app(redis_url=redis.url, namespace="login-tries") for _ in range(2))
    with client(first) as http, client(second) as other:
        assert [wrong_status(http) for _ in range(3)] == [401] * 3
        assert other.post("/login", data=RIGHT).status_code == 200
        assert [wrong_status(other) for _ in range(3)] == [401] * 2 + [429]
        assert wrong_status(http) == 429


def test_without_its_redis_nobody_logs_in():
    with client(app(redis_url="redis://127.0.0.1:1", namespace="login-tries")) as http:
        answer = http.post("/login", data=RIGHT)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")


def test_another_name():
    with client(app(login_username="ada")) as http:
        assert http.post("/login", data=RIGHT).status_code == 401
        assert http.post("/login", data={**RIGHT, "username": "ada"}).status_code == 200


@pytest.mark.parametrize(
    ("settings", "there"),
    [
        ({"env": "prod", "jwt_secret_key": SECRET, "login_password": None}, False),
        ({"env": "prod", "jwt_secret_key": SECRET, "login_password": ""}, False),
        ({"env": "prod", "jwt_secret_key": SECRET}, True),
        ({"env": "dev", "login_password": None}, True),
    ],
)
def test_where_it_is(settings, there):
    with client(app(**settings)) as http:
        assert (http.post("/login", data=RIGHT).status_code != 404) == there


def test_a_password_made_up_is_told_once_in_development(caplog):
    caplog.set_level(logging.WARNING, "servey")
    with client(app(login_password=None)) as http:
        told = [record.getMessage() for record in caplog.records if "password" in record.getMessage()]
        assert len(told) == 1
        password = told[0].split("'")[3]
        assert len(password) >= 12
        assert http.post("/login", data={"username": "root", "password": password}).status_code == 200


def test_an_authenticator_of_ones_own():
    class Users:
        async def authenticate(self, username: str, password: str) -> Authorization | None:
            return Authorization(username, frozenset({"root"})) if password == username[::-1] else None

    # In production too, without a password in the settings.
    settings = Settings(jwt_secret_key=SECRET)
    made = create_app(actions=[guarded], settings=settings, parts=Parts(password_authenticator=lambda _: Users()))
    with client(made) as http:
        token = http.post("/login", data={"username": "ada", "password": "ada"}).json()["access_token"]
        assert http.get("/actions/guarded", headers={"Authorization": f"Bearer {token}"}).json()["subject"] == "ada"
        assert http.post("/login", data={"username": "bob", "password": "x"}).status_code == 401


def test_in_a_host():
    host = FastAPI()
    Servey(actions=[guarded], settings=Settings(env="dev", login_password="open sesame")).install(host, prefix="/ours")
    with client(host) as http:
        assert http.post("/ours/login", data=RIGHT).status_code == 200
        document = http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["OAuth2"]["flows"]["password"]["tokenUrl"] == "ours/login"


def test_passwords_are_not_shown():
    assert "open sesame" not in repr(Settings(login_password="open sesame"))
    assert "open sesame" not in repr(OnePassword("root", "open sesame"))


class Slow:
    """Lets nobody in, when it is told to answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = asyncio.Event()

    async def authenticate(self, username: str, password: str) -> Authorization | None:
        self.asked += 1
        await self.answer.wait()
        return None


@pytest.mark.anyio
async def test_concurrent_tries_are_throttled_too():
    slow = Slow()
    served = create_app(
        actions=[guarded], settings=Settings(env="dev"), parts=Parts(password_authenticator=lambda settings: slow)
    )
    transport = httpx.ASGITransport(served)
    async with served.runtime.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        tries = [asyncio.create_task(http.post("/login", data=RIGHT)) for _ in range(20)]
        while slow.asked < 5:
            await asyncio.sleep(0)
        slow.answer.set()
        answers = [await each for each in tries]
    assert slow.asked == 5
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 15


@pytest.mark.anyio
async def test_a_place_is_given_back_where_a_try_was_right():
    throttle = Throttle()

    async def one() -> None:
        async with throttle.one_try("", "ada") as succeed:
            await asyncio.sleep(0)
            succeed()

    await asyncio.gather(*(one() for _ in range(50)))


@pytest.mark.anyio
async def test_too_many_that_wait():
    throttle, held = Throttle(), asyncio.Event()

    async def one() -> None:
        async with throttle.one_try("", "ada") as succeed:
            await held.wait()
            succeed()

    tasks = [asyncio.create_task(one()) for _ in range(105)]
    await asyncio.sleep(0)
    with pytest.raises(ActionError) as refused:
        await one()
    assert refused.value.status == 503
    held.set()
    await asyncio.gather(*tasks)


def multipart(charset: str, username: bytes) -> tuple[bytes, dict[str, str]]:
    fields = {"username": username, "password": b"x"}
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (k.encode(), v) for k, v in fields.items()
    ]
    return b"".join(parts) + b"--x--\r\n", {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}


@pytest.mark.parametrize(
    ("charset", "username", "status"),
    [
        ("utf-8", b"root", 401),
        ('"UTF-8"', b"root", 401),
        ("raw_unicode_escape", rb"\ud800", 422),
        ("punycode", b"0" * 50_000, 422),
        ("utf-16", b"root", 422),
        ("utf-8", b"0" * 100_000, 413),
        ("utf-8", b"\xff\xfe", 401),
    ],
)
def test_odd_forms(charset, username, status):
    body, headers = multipart(charset, username)
    with client(app()) as http:
        assert http.post("/login", content=body, headers=headers).status_code == status


def test_a_body_that_never_ends():
    with client(app()) as http:
        assert http.post("/login", content=(b"a" * 1000 for _ in range(1000))).status_code == 413
