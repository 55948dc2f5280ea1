"""Tokens that KMS signs and the app verifies locally."""

import base64
import json
import threading
from typing import Any

import anyio
import pytest
from jose import jwt

from servey import WEB_GET, Authorization, ConfigError, ScopeAccessControl, Settings, action, create_app
from servey.aws.keys import KmsAuthorizer, authorizer_of
from servey.core.access import AuthorizationError
from servey.core.errors import Overloaded
from servey.testing import client
from tests.aws.fakes import FakeAws

pytestmark = pytest.mark.anyio
ADA = Authorization("ada", frozenset({"read", "write"}))


@pytest.fixture
def key_id(aws) -> str:
    return aws.kms.new_key()


@pytest.fixture
def authorizer(aws, key_id) -> KmsAuthorizer:
    return authorizer_of(Settings(kms_key_id=key_id))


async def test_a_token_says_what_was_signed(aws, authorizer):
    token = await authorizer.sign_by_kms(ADA, lifetime=60)
    assert "=" not in token
    for _ in range(5):
        found = await authorizer.authorize(token)
    assert (found.subject_id, found.scopes) == ("ada", ADA.scopes)
    assert len(aws.kms.asked) == 1


async def test_anyone_with_the_public_key_can_verify_it(aws, authorizer, key_id):
    token = await authorizer.sign_by_kms(ADA, lifetime=60)
    public = aws.kms.keys[key_id].public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert jwt.decode(token, pem, algorithms=["RS256"])["sub"] == "ada"
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": "1"}


def with_header(token: str, **header: Any) -> str:
    _, *rest = token.split(".")
    text = json.dumps({"alg": "RS256", "typ": "JWT", **header}, separators=(",", ":")).encode()
    return ".".join([base64.urlsafe_b64encode(text).rstrip(b"=").decode(), *rest])


async def test_a_key_that_is_none_of_ours_is_never_asked_for(aws, authorizer):
    token = await authorizer.sign_by_kms(ADA, lifetime=60)
    foreign = aws.kms.new_key()
    for kid in (foreign, "2", "", None, 3, ["1"]):
        with pytest.raises(AuthorizationError):
            await authorizer.authorize(with_header(token, kid=kid))
    assert aws.kms.asked == []


async def test_what_is_changed_or_over_is_refused(aws, key_id):
    now = 1_000_000.0
    authorizer = KmsAuthorizer((key_id,), authorizer_of(Settings(kms_key_id=key_id))._client, clock=lambda: now)
    token = await authorizer.sign_by_kms(ADA, lifetime=60)
    assert (await authorizer.authorize(token)).subject_id == "ada"
    head, body, signature = token.split(".")
    changed = base64.urlsafe_b64encode(b'{"sub":"root","exp":2000000}').rstrip(b"=").decode()
    none = with_header(token, alg="none")
    for bad in (f"{head}.{changed}.{signature}", f"{head}.{body}.", f"{head}.{body}.{signature}=", none):
        with pytest.raises(AuthorizationError):
            await authorizer.authorize(bad)
    now += 91
    with pytest.raises(AuthorizationError, match="expired"):
        await authorizer.authorize(token)


async def test_an_older_key_still_verifies(aws, key_id, authorizer):
    old = await authorizer.sign_by_kms(ADA, lifetime=60)
    new_id = aws.kms.new_key()
    both = authorizer_of(Settings(kms_key_id=f"{new_id}, {key_id}"))
    assert (await both.authorize(old)).subject_id == "ada"
    new = await both.sign_by_kms(ADA, lifetime=60)
    assert (await both.authorize(new)).subject_id == "ada"
    with pytest.raises(AuthorizationError):
        await authorizer.authorize(new)


async def test_issuer_and_audience_are_checked(aws, key_id):
    one = authorizer_of(Settings(kms_key_id=key_id, jwt_issuer="us", jwt_audience="shop"))
    other = authorizer_of(Settings(kms_key_id=key_id, jwt_issuer="them", jwt_audience="shop"))
    token = await one.sign_by_kms(ADA, lifetime=60)
    assert (await one.authorize(token)).subject_id == "ada"
    with pytest.raises(AuthorizationError):
        await other.authorize(token)


def test_the_settings_name_a_key():
    with pytest.raises(ConfigError, match="contains no key id"):
        authorizer_of(Settings(kms_key_id=" , "))


def test_an_app_takes_the_tokens_and_answers_401_to_others(aws: FakeAws, key_id, authorizer):
    @action(triggers=WEB_GET, access_control=ScopeAccessControl("read"))
    async def guarded() -> str:
        return "in"

    token = anyio.run(lambda: authorizer.sign_by_kms(ADA, lifetime=60))
    app = create_app(actions=[guarded], settings=Settings(kms_key_id=key_id))
    with client(app) as http:
        answers = [
            http.get("/actions/guarded", headers={"Authorization": f"Bearer {each}"}).status_code
            for each in (token, "x.y.z", with_header(token, kid="other"))
        ]
    assert answers == [200, 401, 401]


async def test_while_kms_does_not_answer_known_keys_verify_and_others_are_tried_later(aws, key_id, monkeypatch):
    other_id = aws.kms.new_key()
    authorizer = authorizer_of(Settings(kms_key_id=f"{key_id}, {other_id}"))
    known = await authorizer.sign_by_kms(ADA, lifetime=60)
    other = await authorizer_of(Settings(kms_key_id=other_id)).sign_by_kms(ADA, lifetime=60)
    await authorizer.authorize(known)
    answer = aws.kms.get_public_key
    hangs = threading.Event()

    def fails_late(KeyId: str) -> Any:
        hangs.wait(10)
        raise TimeoutError("KMS")

    monkeypatch.setattr(aws.kms, "get_public_key", fails_late)
    async with anyio.create_task_group() as group:

        async def refused() -> None:
            with pytest.raises(Overloaded):
                await authorizer.authorize(other)

        group.start_soon(refused)
        await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            assert (await authorizer.authorize(known)).subject_id == "ada"
        hangs.set()
    monkeypatch.setattr(aws.kms, "get_public_key", answer)
    assert (await authorizer.authorize(other)).subject_id == "ada"
