"""What the README of servey 5 does with actions, examples, dynamic actions and the command line, by its own import paths."""

import json
import sys
import time

import httpx
import pytest

from tests.serving import free_port, run, started

HELLO = '''
from servey.action.action import action
from servey.trigger.web_trigger import WEB_GET


@action(triggers=(WEB_GET,))
def say_hello(name: str) -> str:
    """ Greet a user! """
    return f"Hello {name}!"
'''

EXAMPLES = '''
from servey.action.action import action
from servey.action.example import Example
from servey.trigger.web_trigger import WEB_GET


@action(
    triggers=(WEB_GET,),
    examples=(
        Example(
            name='greet_developer',
            description='Say hello to the developer',
            params={'name': 'Developer'},
            result='Hello Developer!'
        ),
    )
)
def say_hello(name: str) -> str:
    """ Greet a user! """
    return f"Hello {name}!"
'''

TESTS = """
from servey.servey_test.test_servey_actions import define_test_class

TestActions = define_test_class()
"""

AUTHORIZATION = '''
from typing import Optional

from servey.action.action import action
from servey.security.access_control.scope_access_control import ScopeAccessControl
from servey.security.authorization import Authorization
from servey.trigger.web_trigger import WEB_GET


@action(triggers=(WEB_GET,))
def echo_authorization(
    authorization: Optional[Authorization],
) -> Optional[Authorization]:
    """
    By default, authorization is derived from signed http headers - this just serves as a way
    of returning this info
    """
    return authorization


@action(triggers=(WEB_GET,), access_control=ScopeAccessControl(execute_scope='root'))
def only_for_root() -> str:
    """
    This can only be executed if the user has the root scope
    """
    return 'Some Secret Data!'
'''

CACHING = '''
from datetime import datetime
from time import sleep

from servey.action.action import action
from servey.cache_control.ttl_cache_control import TtlCacheControl
from servey.trigger.web_trigger import WEB_POST


@action(triggers=(WEB_POST,), cache_control=TtlCacheControl(30))
def slow_get_with_ttl() -> datetime:
    """
    This function demonstrates http caching with a slow function. The function will take 3 seconds to return, but
    the client should cache the results for 30 seconds.
    """
    sleep(3)
    return datetime.now()
'''

NESTED = '''
from dataclasses import dataclass

from servey.action.action import action
from servey.trigger.web_trigger import WEB_GET


@dataclass
class NumberStats:
    value: int

    @action
    async def factorial(self) -> int:
        """
        This demonstrates a resolvable field, lazily resolved (Usually by graphql)
        """
        result = 1
        index = self.value
        while index > 1:
            result *= index
            index -= 1
        return result


@action(
    triggers=(WEB_GET,),
)
def number_stats(value: int) -> NumberStats:
    return NumberStats(value)
'''

GENERATED = """
from servey.action.action import action
from servey.trigger.web_trigger import WEB_GET

def _generate(action_name: str):
    @action(name=action_name, triggers=WEB_GET)
    def my_action() -> str:
        return f"action_name was {action_name}"
    return my_action


generated_1 = _generate('generated_1')
generated_2 = _generate('generated_2')
generated_3 = _generate('generated_3')
"""


@pytest.fixture
def project(tmp_path):
    def write(text):
        (tmp_path / "actions.py").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def serve(folder):
    # The seed's variable names the port; nothing else is set.
    port = free_port()
    return started(["-m", "servey"], port, cwd=folder, SERVER_PORT=str(port))


def test_an_action_is_served_and_shown(project):
    with serve(project(HELLO)) as server:
        assert httpx.get(f"{server.url}/actions/say-hello", params={"name": "World"}).json() == "Hello World!"
        document = httpx.get(f"{server.url}/openapi.json").json()
        assert document["paths"]["/actions/say-hello"]["get"]["summary"] == "Greet a user!"
        assert httpx.get(f"{server.url}/docs").status_code == 200


def test_an_action_runs_from_the_terminal(project):
    done = run("-m", "servey", "--run=action", "--action=say_hello", '--event={"name": "World"}', cwd=project(HELLO))
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, "Hello World!", "")


def test_the_openapi_schema_is_written(project):
    folder = project(EXAMPLES)
    assert run("-m", "servey", "--run=openapi", cwd=folder).returncode == 0
    operation = json.loads((folder / "openapi.json").read_text(encoding="utf-8"))["paths"]["/actions/say-hello"]["get"]
    assert operation["parameters"][0]["examples"]["greet_developer"] == {
        "summary": "Say hello to the developer",
        "value": "Developer",
    }


def test_examples_become_tests(project):
    folder = project(EXAMPLES)
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "tests" / "test_actions.py").write_text(TESTS, encoding="utf-8")
    done = run("-m", "unittest", "discover", "-s", "tests", cwd=folder)
    assert (done.returncode, "Ran 4 tests" in done.stderr) == (0, True), done.stderr
    (folder / "actions.py").write_text(EXAMPLES.replace('f"Hello {name}!"', 'f"Bye {name}!"'), encoding="utf-8")
    done = run("-m", "unittest", "discover", "-s", "tests", cwd=folder)
    assert done.returncode == 1
    assert "expected 'Hello Developer!', got 'Bye Developer!'" in done.stderr


def test_authorization(project):
    from servey import Authorization
    from servey.auth.keys import OneKey, secret_key
    from servey.auth.tokens import JwtAuthorizer

    secret = "a-secret-of-more-than-32-bytes-for-tests"
    folder = project(AUTHORIZATION)
    port = free_port()
    with started(["-m", "servey"], port, cwd=folder, SERVER_PORT=str(port), JWT_SECRET_KEY=secret) as server:
        url = f"{server.url}/actions"
        token = JwtAuthorizer(OneKey(secret_key(secret))).sign(Authorization("ada", frozenset({"root"})), lifetime=60)
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{url}/echo-authorization").json() is None
        echoed = httpx.get(f"{url}/echo-authorization", headers=bearer).json()
        assert (echoed["subject_id"], echoed["scopes"]) == ("ada", ["root"])
        assert httpx.get(f"{url}/only-for-root").status_code == 401
        assert httpx.get(f"{url}/only-for-root", headers=bearer).json() == "Some Secret Data!"


def test_a_slow_function_is_slow_once(project):
    with serve(project(CACHING)) as server:
        took, found = [], []
        for _ in range(3):
            begun = time.monotonic()
            answer = httpx.post(f"{server.url}/actions/slow-get-with-ttl")
            took.append(time.monotonic() - begun)
            found.append(answer.json())
    assert took[0] >= 3
    assert max(took[1:]) < 1
    assert len(set(found)) == 1
    assert answer.headers["cache-control"].startswith("private, max-age=2")


def test_nested_actions(project):
    folder = project(NESTED)
    done = run("-m", "servey", "call", "NumberStats.factorial", "self.value=6", cwd=folder)
    assert (done.stdout, done.stderr) == ("720\n", "")
    assert run("-m", "servey", "call", "number_stats", "value=6", cwd=folder).stdout == '{"value":6}\n'


def test_nested_actions_are_resolved_lazily_in_graphql(project):
    folder = project(NESTED)
    with serve(folder) as server:
        for query, data in (
            ("{ numberStats(value: 6) { value factorial } }", {"numberStats": {"value": 6, "factorial": 720}}),
            ("{ numberStats(value: 6) { value } }", {"numberStats": {"value": 6}}),
        ):
            answer = httpx.post(f"{server.url}/graphql", json={"query": query})
            assert (answer.status_code, answer.json()) == (200, {"data": data})
        assert httpx.get(f"{server.url}/graphiql").status_code == 200


def test_the_graphql_schema_is_written(project):
    folder = project(NESTED)
    assert run("-m", "servey", "--run=graphql-schema", cwd=folder).returncode == 0
    schema = (folder / "servey_schema.graphql").read_text(encoding="utf-8")
    assert "numberStats(value: Int!): NumberStats!" in schema
    assert "factorial: Int!" in schema


def test_generated_actions(project):
    with serve(project(GENERATED)) as server:
        for number in (1, 2, 3):
            answer = httpx.get(f"{server.url}/actions/generated-{number}")
            assert answer.json() == f"action_name was generated_{number}"


def test_actions_are_functions_with_an_attribute(project):
    program = "from actions import say_hello\nprint(say_hello('x'), say_hello.servey_action.name)"
    assert run("-c", program, cwd=project(HELLO)).stdout == "Hello x! say_hello\n"


def test_the_main_function_is_where_it_was():
    from servey.__main__ import main

    assert callable(main)
    assert sys.modules["servey.__main__"].main is main
