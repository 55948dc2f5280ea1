"""API Gateway websockets: connecting, subscribing, tokens, publishing, closed connections."""

import json
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from servey import WEB_POST, Authorization, ScopeAccessControl, Settings, action, create_app, websocket_event_channel
from servey.aws import build_handler
from servey.testing import token_for
from tests.aws.conftest import SETTINGS
from tests.aws.gateways import GATEWAYS, Request, answer_of

SECRET = "a-secret-of-more-than-32-bytes-for-tests"

news = websocket_event_channel("news", str)
secrets = websocket_event_channel("secrets", str, access_control=ScopeAccessControl("root"))


def only_own(event: dict[str, Any], authorization: Authorization | None) -> bool:
    if event.get("broken"):
        raise RuntimeError("the filter does not work")
    return authorization is not None and event["to"] == authorization.subject_id


orders = websocket_event_channel("orders", dict[str, Any], event_filter=only_own)


@action(triggers=WEB_POST)
async def tell(channel: str, event: Any, subscriber_id: str | None = None, subject: str | None = None) -> None:
    found = {"news": news, "secrets": secrets, "orders": orders}[channel]
    await found.publish(event, subscriber_id, subject=subject)


@pytest.fixture
def app(aws):
    settings = Settings(
        env="prod", jwt_secret_key=SECRET, cors_allowed_origins="https://a.example", jwt_leeway=0, **SETTINGS
    )
    return create_app(actions=[tell], channels=[news, secrets, orders], settings=settings)


@pytest.fixture
def handler(app):
    handler = build_handler(app)
    yield handler
    handler.close()


def socket_event(kind: str, connection_id: str, **more: Any) -> dict[str, Any]:
    route = {"CONNECT": "$connect", "DISCONNECT": "$disconnect"}.get(kind, "$default")
    context = {
        "routeKey": route,
        "eventType": kind,
        "connectionId": connection_id,
        "connectedAt": int(time.time() * 1000),
        "domainName": "evil.example",
        "stage": "evil",
        "requestId": "id",
        "apiId": "api",
    }
    return {"requestContext": context, "isBase64Encoded": False, **more}


def connect(handler: Any, connection_id: str, **headers: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return handler(socket_event("CONNECT", connection_id, headers=named), None)


def send(handler: Any, connection_id: str, frame: Any, **more: Any) -> None:
    body = frame if isinstance(frame, str) else json.dumps(frame)
    assert handler(socket_event("MESSAGE", connection_id, body=body, **more), None) == {"statusCode": 200}


def subscribe(handler: Any, connection_id: str, channel: str, **more: Any) -> None:
    send(handler, connection_id, {"type": "Subscribe", "payload": channel, **more})


def got(aws: Any, connection_id: str) -> list[Any]:
    return [json.loads(frame) for frame in aws.apigatewaymanagementapi.got.pop(connection_id, [])]


def publish(handler: Any, channel: str, event: Any, **more: Any) -> int:
    body = json.dumps({"channel": channel, "event": event, **more}).encode()
    request = Request("POST", "/actions/tell", (("content-type", "application/json"),), body)
    return answer_of(handler(GATEWAYS["HTTP API"](request), None)).status


def bearer(app: Any, subject: str, *scopes: str) -> str:
    return f"Bearer {token_for(app, Authorization(subject, frozenset(scopes)))}"


# ------------------------------------------------------------------------------------------------------ connecting


def test_who_may_connect(app, handler):
    token = bearer(app, "ada").partition(" ")[2]
    assert connect(handler, "1") == {"statusCode": 200}
    assert connect(handler, "2", Authorization=f"Bearer {token}") == {"statusCode": 200}
    assert connect(handler, "3", AUTHORIZATION="Bearer not.a.token") == {"statusCode": 401}
    assert connect(handler, "4", Sec_WebSocket_Protocol=f"servey, bearer.{token}") == {
        "statusCode": 200,
        "headers": {"Sec-WebSocket-Protocol": "servey"},
    }
    assert connect(handler, "5", Sec_WebSocket_Protocol="servey, bearer.x.y.z") == {"statusCode": 401}
    assert connect(handler, "6", Origin="https://a.example") == {"statusCode": 200}
    assert connect(handler, "7", origin="https://evil.example") == {"statusCode": 403}
    assert connect(handler, "8", Origin="https://A.example") == {"statusCode": 200}
    own = {"Host": "ws.example:443", "Origin": "https://ws.example"}
    assert connect(handler, "9", **own) == {"statusCode": 200}


def test_the_schemes_of_the_settings_hold(aws):
    settings = Settings(env="prod", jwt_secret_key=SECRET, token_schemes=("Token",), **SETTINGS)
    app = create_app(actions=[tell], channels=[news], settings=settings)
    handler = build_handler(app)
    assert connect(handler, "1", Authorization="token not.a.token") == {"statusCode": 401}
    assert connect(handler, "2", Authorization=bearer(app, "ada").replace("Bearer", "token")) == {"statusCode": 200}
    assert connect(handler, "3", Authorization="Bearer not.a.token") == {"statusCode": 200}  # anonymous
    handler.close()


def test_a_refused_connection_gets_nothing(aws, handler):
    connect(handler, "1", Authorization="Bearer not.a.token")
    subscribe(handler, "1", "news")
    assert publish(handler, "news", "hello") == 200
    assert got(aws, "1") == []
    assert aws.apigatewaymanagementapi.ended == ["1"]


# ------------------------------------------------------------------------------------------------------ subscribing


def test_an_event_reaches_those_who_have_subscribed(aws, handler):
    for each in "1234567":
        connect(handler, each)
    for each in "12345":
        subscribe(handler, each, "news")
        (told,) = got(aws, each)
        assert told == {"type": "Subscribed", "channel": "news", "subscriber_id": told["subscriber_id"]}
    assert publish(handler, "news", "hello") == 200
    for each in "12345":
        assert got(aws, each) == [{"type": "Event", "channel": "news", "payload": "hello"}]
    assert got(aws, "6") == []


def test_the_access_rule_of_a_channel_holds(aws, app, handler):
    connect(handler, "1")
    connect(handler, "2", Authorization=bearer(app, "ada", "read"))
    connect(handler, "3", Authorization=bearer(app, "boss", "root"))
    for each in "123":
        subscribe(handler, each, "secrets")
    publish(handler, "secrets", "hush")
    assert [frame.get("code") for frame in got(aws, "1")] == ["unauthenticated"]
    assert [frame.get("code") for frame in got(aws, "2")] == ["forbidden"]
    assert [frame["type"] for frame in got(aws, "3")] == ["Subscribed", "Event"]


def test_the_filter_says_who_sees_an_event(aws, app, handler, caplog):
    connect(handler, "ada", Authorization=bearer(app, "ada"))
    connect(handler, "bob", Authorization=bearer(app, "bob"))
    connect(handler, "nobody")
    for each in ("ada", "bob", "nobody"):
        subscribe(handler, each, "orders")
        got(aws, each)
    publish(handler, "orders", {"to": "ada"})
    publish(handler, "orders", {"broken": True})
    assert [frame["payload"] for frame in got(aws, "ada")] == [{"to": "ada"}]
    assert got(aws, "bob") == got(aws, "nobody") == []
    assert "the filter of channel 'orders' failed" in caplog.text


def test_an_event_may_be_for_one_subscriber_or_one_subject(aws, app, handler):
    connect(handler, "1", Authorization=bearer(app, "ada"))
    connect(handler, "2", Authorization=bearer(app, "ada"))
    connect(handler, "3")
    subscribe(handler, "1", "news", subscriber_id="mine")
    subscribe(handler, "2", "news")
    subscribe(handler, "3", "news")
    for each in "123":
        got(aws, each)
    publish(handler, "news", "one", subscriber_id="mine")
    publish(handler, "news", "two", subject="ada")
    assert [frame["payload"] for frame in got(aws, "1")] == ["one", "two"]
    assert [frame["payload"] for frame in got(aws, "2")] == ["two"]
    assert got(aws, "3") == []


def test_a_client_leaves_a_channel_and_the_gateway(aws, handler):
    connect(handler, "1")
    subscribe(handler, "1", "news")
    subscribe(handler, "1", "orders")
    send(handler, "1", {"type": "Unsubscribe", "payload": "news"})
    assert got(aws, "1")[-1] == {"type": "Unsubscribed", "channel": "news"}
    publish(handler, "news", "hello")
    assert got(aws, "1") == []
    send(handler, "1", {"type": "Unsubscribe", "payload": "news"})
    assert got(aws, "1")[-1]["code"] == "not_found"
    assert handler(socket_event("DISCONNECT", "1"), None) == {"statusCode": 200}
    assert aws.dynamodb.items == {}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("text", "invalid_frame"),
        ("[1]", "invalid_frame"),
        ('{"type": "Publish", "payload": "news"}', "invalid_frame"),
        ('{"type": "Subscribe"}', "invalid_frame"),
        ('{"type": "Subscribe", "payload": "nothing"}', "not_found"),
        ('{"type": "Subscribe", "payload": "secrets", "subscriber_id": "mine"}', "unauthenticated"),
    ],
)
def test_what_is_wrong_is_told(aws, handler, frame, code):
    connect(handler, "1")
    send(handler, "1", frame)
    (told,) = got(aws, "1")
    assert (told["type"], told["code"]) == ("Error", code)


def test_a_binary_frame_is_none(aws, handler):
    connect(handler, "1")
    send(handler, "1", "/////w==", isBase64Encoded=True)
    assert got(aws, "1")[0]["code"] == "invalid_frame"


def test_the_past_is_lost_and_a_client_is_told_so(aws, handler):
    connect(handler, "1")
    subscribe(handler, "1", "news", after="epoch:3")
    assert got(aws, "1")[0]["recovered"] is False


# ----------------------------------------------------------------------------------------------------------- tokens


def test_a_token_may_be_shown_later_and_changed(aws, app, handler):
    connect(handler, "1")
    subscribe(handler, "1", "orders")
    got(aws, "1")
    publish(handler, "orders", {"to": "ada"})
    assert got(aws, "1") == []
    send(handler, "1", {"type": "Authorize", "payload": bearer(app, "ada").partition(" ")[2]})
    assert got(aws, "1") == [{"type": "Authorized"}]
    publish(handler, "orders", {"to": "ada"})
    assert len(got(aws, "1")) == 1
    send(handler, "1", {"type": "Authorize", "payload": bearer(app, "bob").partition(" ")[2]})
    assert got(aws, "1")[0]["code"] == "forbidden"
    send(handler, "1", {"type": "Authorize", "payload": "not.a.token"})
    assert got(aws, "1")[0]["code"] == "unauthenticated"
    assert aws.apigatewaymanagementapi.ended == ["1"]


def test_a_subscription_ends_with_its_token(aws, app, handler):
    short = app.runtime.authorizer.sign(Authorization("ada"), lifetime=1)
    connect(handler, "1", Authorization=f"Bearer {short}")
    subscribe(handler, "1", "news")
    got(aws, "1")
    for item in aws.dynamodb.items.values():
        item["caller"]["S"] = item["caller"]["S"].replace("202", "201", 1)
    publish(handler, "news", "hello")
    assert got(aws, "1") == []
    assert aws.apigatewaymanagementapi.ended == ["1"]
    assert aws.dynamodb.items == {}


def test_a_connection_without_a_token_becomes_that_of_one_subject(aws, app, handler):
    connect(handler, "1")
    send(handler, "1", {"type": "Authorize", "payload": bearer(app, "ada").partition(" ")[2]})
    send(handler, "1", {"type": "Authorize", "payload": bearer(app, "bob", "root").partition(" ")[2]})
    assert [frame.get("code", frame["type"]) for frame in got(aws, "1")] == ["Authorized", "forbidden"]
    subscribe(handler, "1", "secrets")
    assert got(aws, "1")[0]["code"] == "forbidden"
    subscribe(handler, "1", "orders")
    publish(handler, "orders", {"to": "bob"})
    publish(handler, "orders", {"to": "ada"})
    assert [frame["payload"] for frame in got(aws, "1") if frame["type"] == "Event"] == [{"to": "ada"}]


def test_a_token_that_ends_earlier_ends_the_subscriptions_earlier(aws, app, handler, monkeypatch):
    connect(handler, "1", Authorization=bearer(app, "ada"))
    subscribe(handler, "1", "news")
    short = app.runtime.authorizer.sign(Authorization("ada"), lifetime=60)
    send(handler, "1", {"type": "Authorize", "payload": short})
    publish(handler, "news", "hello")
    assert [frame["type"] for frame in got(aws, "1")] == ["Subscribed", "Authorized", "Event"]

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=100)

    monkeypatch.setattr("servey.core.access.datetime", Later)
    publish(handler, "news", "too late")
    assert got(aws, "1") == []
    assert aws.apigatewaymanagementapi.ended == ["1"]


# ------------------------------------------------------------------------------------------------------ publishing


def test_one_who_is_gone_does_not_hold_up_the_others(aws, handler, caplog):
    for number in range(20):
        connect(handler, str(number))
        subscribe(handler, str(number), "news")
    management = aws.apigatewaymanagementapi
    management.got.clear()
    management.gone = {"3", "11"}
    management.busy = {"5": 2, "6": 99}
    management.failing = {"7"}
    assert publish(handler, "news", "hello") == 200
    assert len(management.got) == 16
    assert "5" in management.got
    assert {key[0] for key in aws.dynamodb.items if key[0] in ("connection#3", "connection#11")} == set()
    assert "a frame could not be sent to connection 7" in caplog.text


def test_an_old_row_is_no_listener(aws, handler):
    connect(handler, "1")
    subscribe(handler, "1", "news")
    got(aws, "1")
    for item in aws.dynamodb.items.values():
        assert 7000 < float(item["expires_at"]["N"]) - time.time() < 8000
        item["expires_at"] = {"N": str(time.time() - 1)}
    publish(handler, "news", "hello")
    assert got(aws, "1") == []


def test_an_event_that_is_too_large_is_the_publishers_error(handler, caplog):
    assert publish(handler, "news", "x" * (128 * 1024)) == 500
    assert "API Gateway's limit is 131072" in caplog.text


def test_where_to_send_never_comes_from_an_event(app, handler):
    async def bus() -> Any:
        return app.runtime.bus

    connect(handler, "1")
    made = handler.run(bus())._client._make
    assert "evil" not in repr(made.__closure__[0].cell_contents)
