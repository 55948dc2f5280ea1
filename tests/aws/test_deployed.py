"""Deploy the tour to an AWS emulator that enforces IAM, use it, and remove it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.aws.deployed import Deployed, deployed, frames_of
from tests.serving import wait_until

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

MORE = {
    "actions/deployed.py": '''
"""Files that only the deployed tour has."""

from event_channels import measured, ticks

from servey import WEB_POST, Context, FixedRateTrigger, ScopeAccessControl, action


@action(triggers=FixedRateTrigger(60))
async def tick() -> None:
    await ticks.publish("tick")


@action(triggers=WEB_POST)
async def tell_all(text: str) -> None:
    await ticks.publish(text)


@action(triggers=WEB_POST, access_control=ScopeAccessControl("root"))
async def measure(width: int, context: Context) -> str:
    return await context.enqueue("double_width", {"width": width})


@action(triggers=WEB_POST)
async def measure_later(width: int) -> None:
    await measured.publish(width)
''',
    "event_channels.py": """
from servey import Retry, ScopeAccessControl, action, background_action_channel, websocket_event_channel

ticks = websocket_event_channel("ticks", str)
secrets = websocket_event_channel("secrets", str, access_control=ScopeAccessControl("root"))


@action(retry=Retry(max_tries=1))
async def double_width(width: int) -> int:
    await ticks.publish(f"doubled {2 * width}")
    return 2 * width


measured = background_action_channel(double_width, name="measured")
""",
}


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed("tour", tmp_path_factory.mktemp("deployed"), MORE, "--appsync") as made:
        yield made


def test_http(tour):
    assert tour.request("GET", "/actions/say-hello?name=World") == (200, "Hello World!")
    assert tour.request("GET", "/products/1")[1]["name"] == "A Pattern Language"
    assert tour.request("GET", "/departments/garden/cheapest?under=5")[1]["code"] == "not_found"
    assert tour.request("GET", "/actions/export-products")[0] == 501
    assert tour.request("GET", "/docs")[0] == 404


def test_graphql(tour):
    query = '{ sayHello(name: "World") getProduct(productId: 1) { name } }'
    status, answer = tour.request("POST", "/graphql", {"query": query})
    assert (status, answer) == (
        200,
        {"data": {"sayHello": "Hello World!", "getProduct": {"name": "A Pattern Language"}}},
    )
    guarded = {"query": "{ readLog }"}
    assert tour.request("POST", "/graphql", guarded)[1]["errors"][0]["extensions"]["code"] == "unauthenticated"


def test_appsync(tour):
    """The resolvers are those of the stack; the emulator sends the fields of a batch one by one."""
    answer = tour.appsync('{ sayHello(name: "World") getProduct(productId: 1) { name department } }')
    assert answer["data"] == {
        "sayHello": "Hello World!",
        "getProduct": {"name": "A Pattern Language", "department": "books"},
    }
    nested = "{ browse(department: garden) { product { name } stars similar(limit: 1) { product { department } } } }"
    entries = tour.appsync(nested)["data"]["browse"]
    assert {entry["similar"][0]["product"]["department"] for entry in entries} == {"garden"}
    assert {entry["stars"] for entry in entries} == {None}  # there are no reviews yet
    assert tour.appsync("{ readLog }")["errors"][0]["message"].endswith("(unauthenticated)")
    boss = tour.token("boss", "root")
    assert isinstance(tour.appsync("{ readLog }", Authorization=boss)["data"]["readLog"], list)


def test_tokens_that_kms_has_signed(tour):
    assert tour.request("GET", "/actions/read-log")[0] == 401
    assert tour.request("GET", "/actions/read-log", Authorization=tour.token("ada"))[0] == 403
    assert tour.request("GET", "/actions/read-log", Authorization=tour.token("boss", "root"))[0] == 200
    assert tour.request("GET", "/actions/read-log", Authorization=tour.token("boss", "root") + "x")[0] == 401


def test_direct_calls(tour):
    assert tour.invoke({"servey": {"action": "say_hello", "params": {"name": "you"}}}) == "Hello you!"
    error, told = tour.invoke({"servey": {"action": "say_hello", "params": {}}})
    assert error == "Unhandled"
    assert "name: Field required (invalid_params)" in told["errorMessage"]
    error, told = tour.invoke({"nothing": "known"})
    assert error == "Unhandled"
    assert "cannot handle an event" in told["errorMessage"]


def test_websockets(tour):
    with tour.socket() as one, tour.socket(Authorization=tour.token("boss", "root")) as two:
        for connection in (one, two):
            connection.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
            assert frames_of(connection, lambda frame: True)["type"] == "Subscribed"
        one.send(json.dumps({"type": "Subscribe", "payload": "secrets"}))
        assert frames_of(one, lambda frame: True)["code"] == "unauthenticated"
        two.send(json.dumps({"type": "Subscribe", "payload": "secrets"}))
        assert frames_of(two, lambda frame: True)["type"] == "Subscribed"
        with tour.socket() as gone:
            gone.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
            frames_of(gone, lambda frame: True)
        assert tour.request("POST", "/actions/tell-all", {"text": "hello"})[0] == 200
        for connection in (one, two):
            assert frames_of(connection, lambda frame: frame["type"] == "Event")["payload"] == "hello"
    with pytest.raises(InvalidStatus), tour.socket(Authorization="Bearer not.a.token"):
        pass


def test_background_work(tour):
    with tour.socket() as connection:
        connection.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
        frames_of(connection, lambda frame: frame["type"] == "Subscribed")
        assert tour.request("POST", "/actions/measure-later", {"width": 21})[0] == 200
        frames_of(connection, lambda frame: frame.get("payload") == "doubled 42")


def test_a_job_and_what_became_of_it(tour):
    boss = tour.token("boss", "root")
    status, job_id = tour.request("POST", "/actions/measure", {"width": 4}, Authorization=boss)
    assert status == 200
    state: dict[str, Any] = {}

    def is_done() -> bool:
        state.update(tour.request("GET", f"/jobs/{job_id}", Authorization=boss)[1])
        return state["state"] == "done"

    wait_until(is_done, "the job", within=60)
    assert state["result"] == 8
    assert tour.request("GET", f"/jobs/{job_id}", Authorization=tour.token("eve"))[0] == 404


def test_a_schedule_of_eventbridges(tour):
    with tour.socket() as connection:
        connection.send(json.dumps({"type": "Subscribe", "payload": "ticks"}))
        frames_of(connection, lambda frame: frame.get("payload") == "tick", within=150)


def test_the_role_has_no_right_too_many(tour):
    """Each IAM action is necessary: without it one of the tests above fails."""
    iam = tour.aws("iam")
    names = [each["RoleName"] for each in iam.list_roles()["Roles"]]
    (role,) = [each for each in names if "Servey" in each and "Appsync" not in each]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]

    def without(action: str) -> None:
        kept = [
            {**each, "Action": [every for every in each["Action"] if every != action]} for each in policy["Statement"]
        ]
        document = {**policy, "Statement": [each for each in kept if each["Action"]]}
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    needed = {
        "sqs:SendMessage": lambda: tour.request("POST", "/actions/measure-later", {"width": 1})[0],
        "dynamodb:Query": lambda: tour.request("POST", "/actions/tell-all", {"text": "x"})[0],
        "dynamodb:PutItem": lambda: tour.request("POST", "/actions/measure-later", {"width": 1})[0],
    }
    try:
        for action, ask in needed.items():
            without(action)
            assert ask() in (500, 503), action
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(policy))
    assert tour.request("POST", "/actions/tell-all", {"text": "x"})[0] == 200
