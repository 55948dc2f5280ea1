"""Swapping parts of an app: in code, and by plugins that the settings name."""

import pytest

from servey import WEB_GET, Authorization, ConfigError, ScopeAccessControl, Settings, action, create_app
from servey.core.access import AuthorizationError
from servey.runtime.parts import Parts, parts_of
from servey.testing import client
from tests.serving import run

DEV = Settings(env="dev")


class PasswordsAsTokens:
    """An authorizer of somebody's own: the token is the subject."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def authorize(self, token: str) -> Authorization:
        if not token.startswith("pass-"):
            raise AuthorizationError("no such password")
        return Authorization(token.removeprefix("pass-"), frozenset({"root"}))


@action(triggers=WEB_GET, access_control=ScopeAccessControl("root"))
async def who(authorization: Authorization) -> str | None:
    return authorization.subject_id


@pytest.mark.parametrize("part", [PasswordsAsTokens, "tests.runtime.test_parts:PasswordsAsTokens"])
def test_an_authorizer_of_ones_own(part):
    with client(create_app(actions=[who], settings=DEV, parts=Parts(authorizer=part))) as http:
        assert http.get("/actions/who", headers={"Authorization": "Bearer pass-ada"}).json() == "ada"
        assert http.get("/actions/who", headers={"Authorization": "Bearer ada"}).status_code == 401
        assert http.get("/actions/who").status_code == 401


def test_a_plugin_that_the_settings_name(tmp_path):
    (tmp_path / "plugin.py").write_text(
        "from servey import Authorization\n"
        "class Everybody:\n"
        "    def __init__(self, settings): ...\n"
        "    async def authorize(self, token):\n        return Authorization(token)\n"
        "def install(parts):\n    parts.authorizer = Everybody\n",
        encoding="utf-8",
    )
    (tmp_path / "actions.py").write_text(
        "from servey import *\n@action\ndef who(authorization: Authorization) -> str | None:\n    return authorization.subject_id\n",
        encoding="utf-8",
    )
    done = run("-m", "servey", "call", "who", "--token", "ada", cwd=tmp_path, SERVEY_PLUGINS="plugin:install")
    assert (done.stdout, done.stderr) == ('"ada"\n', "")


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("nowhere:install", "SERVEY_PLUGINS: 'nowhere:install' cannot be imported: No module named 'nowhere'"),
        ("json:nothing", "'json:nothing' cannot be imported: module 'json' has no attribute 'nothing'"),
        ("json", "'json' is not an import path; write package.module:name"),
        ("sys:path", "which cannot be called"),
    ],
)
def test_a_plugin_that_is_not_there(place, problem):
    with pytest.raises(ConfigError) as caught:
        create_app(actions=[who], settings=Settings(env="dev", plugins=(place,)))
    assert problem in str(caught.value)


def test_a_part_that_does_not_fit():
    with pytest.raises(ConfigError, match=r"the part 'authorizer' made .*, which has no method authorize\(\)"):
        create_app(actions=[who], settings=DEV, parts=Parts(authorizer=lambda settings: object()))


def test_an_app_that_replaces_one_part_keeps_those_that_the_settings_select():
    settings = Settings(
        kms_key_id="arn:aws:kms:us-east-1:123456789012:key/none",
        queue_url="https://sqs.example/jobs",
        websocket_endpoint="https://ws.example",
    )
    own = Parts(password_authenticator=lambda settings: object())
    made = parts_of(settings, own)
    assert (made.authorizer, made.queue, made.bus) == (
        "servey.aws.keys:authorizer_of",
        "servey.aws.queue:queue_of",
        "servey.aws.bus:bus_of",
    )
    assert made.password_authenticator is own.password_authenticator
    assert own.queue == Parts.queue, "the parts of an app may serve another app too"
    assert parts_of(settings, Parts(queue=print)).queue is print
