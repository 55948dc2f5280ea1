"""Every kind of access rule, asked by every kind of caller, and what comes of it: the same on each way in.

A way in is a function from the names of a rule and of a caller to the code of the error, or None for one who is let in. The
transports of `transports.py` are such ways by themselves; here are those that are not about calls of actions.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from servey import (
    ALLOW_ALL,
    ALLOW_NONE,
    WEB_GET,
    WEB_POST,
    Authorization,
    BatchInvoker,
    ScopeAccessControl,
    Servey,
    Settings,
    TtlCacheControl,
    action,
    create_app,
    websocket_event_channel,
)
from servey.auth.keys import OneKey, secret_key
from servey.auth.tokens import JwtAuthorizer
from servey.testing import client, token_for
from tests.serving import serve

CALLERS: dict[str, Any] = {
    "nobody": None,
    "a bad token": "bad token",
    "a wrong scope": Authorization("ada", frozenset({"other"})),
    "one scope": Authorization("bob", frozenset({"read"})),
    "all scopes": Authorization("boss", frozenset({"read", "write"})),
}
IN, WHO, NO = None, "unauthenticated", "forbidden"


def has_subject(authorization: Authorization | None) -> bool:
    return authorization is not None and authorization.subject_id is not None


async def is_boss(authorization: Authorization | None) -> bool:
    return authorization is not None and authorization.subject_id == "boss"


def owns(authorization: Authorization | None, params: Mapping[str, Any]) -> bool:
    return authorization is not None and authorization.subject_id == params["owner"]


class NotBob(ScopeAccessControl):
    """A scope, and an account that is looked up."""

    async def __call__(self, authorization: Authorization | None) -> bool:  # type: ignore[override]
        return super().__call__(authorization) and authorization is not None and authorization.subject_id != "bob"


READ, WRITE = ScopeAccessControl("read"), ScopeAccessControl("write")


@dataclass(frozen=True)
class Rule:
    """A rule, and what each caller in the order of `CALLERS` gets; the one who owns what is asked for is the boss."""

    rule: Any
    outcomes: tuple[str | None, ...]
    looks_at_params: bool = False


RULES = {
    "allow_all": Rule(ALLOW_ALL, (IN, IN, IN, IN, IN)),
    "allow_none": Rule(ALLOW_NONE, (WHO, WHO, NO, NO, NO)),
    "scope": Rule(READ, (WHO, WHO, NO, IN, IN)),
    "any_of": Rule(ScopeAccessControl(("write", "read")), (WHO, WHO, NO, IN, IN)),
    "all_of": Rule(ScopeAccessControl(("write", "read"), require_all=True), (WHO, WHO, NO, NO, IN)),
    "function": Rule(has_subject, (WHO, WHO, IN, IN, IN)),
    "async_function": Rule(is_boss, (WHO, WHO, NO, NO, IN)),
    "async_subclass": Rule(NotBob("read"), (WHO, WHO, NO, NO, IN)),
    "both": Rule(READ & WRITE, (WHO, WHO, NO, NO, IN)),
    "one_of": Rule(READ | WRITE, (WHO, WHO, NO, IN, IN)),
    "nested": Rule(READ & (WRITE | is_boss), (WHO, WHO, NO, NO, IN)),
    "owner": Rule(owns, (WHO, WHO, NO, NO, IN), looks_at_params=True),
    "scope_and_owner": Rule(READ & owns, (WHO, WHO, NO, NO, IN), looks_at_params=True),
    "scope_or_owner": Rule(READ | owns, (WHO, WHO, NO, IN, IN), looks_at_params=True),
}
TABLE = [
    (rule, caller, outcome)
    for rule, facts in RULES.items()
    for caller, outcome in zip(CALLERS, facts.outcomes, strict=True)
]
CHANNEL_TABLE = [
    # Whoever subscribes says who they are, for filters, subjects and the end of the token; so a bad token always counts.
    (rule, caller, WHO if caller == "a bad token" else outcome)
    for rule, caller, outcome in TABLE
    if not RULES[rule].looks_at_params
]


def _guarded(name: str, rule: Rule) -> Callable[..., Any]:
    @action(name=f"by_{name}", triggers=WEB_POST, access_control=rule.rule)
    async def guarded(owner: str = "boss") -> str:
        return owner

    return guarded


def _kept(name: str, rule: Rule) -> Callable[..., Any]:
    @action(
        name=f"kept_by_{name}",
        triggers=WEB_GET,
        access_control=rule.rule,
        cache_control=TtlCacheControl(600, private=False),
    )
    async def kept(owner: str = "boss") -> str:
        return owner

    return kept


GUARDED = {f"by_{name}": _guarded(name, rule) for name, rule in RULES.items()}
KEPT = [_kept(name, rule) for name, rule in RULES.items()]

Ask = Callable[[str, str], str | None]


@contextmanager
def kept_results() -> Iterator[Ask]:
    """Results that are everybody's and that the server has kept already, but for those who may not have them."""
    app = create_app(actions=KEPT, settings=Settings(env="dev"))
    with client(app) as http:

        def status(rule: str, caller: Any) -> tuple[str | None, str]:
            token = token_for(app, caller) if isinstance(caller, Authorization) else caller
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            answer = http.get(f"/actions/kept-by-{rule.replace('_', '-')}", headers=headers)
            return (None if answer.status_code == 200 else answer.json()["code"]), answer.headers["cache-control"]

        for rule in RULES:
            status(rule, CALLERS["all scopes"])

        def ask(rule: str, caller: str) -> str | None:
            code, freshness = status(rule, CALLERS[caller])
            assert freshness.startswith("public, max-age=" if code is None else "no-store")
            return code

        yield ask


# ------------------------------------------------------------------------------------------------------------ GraphQL


def _method(name: str, rule: Rule) -> Callable[..., Any]:
    async def method(self: Any, owner: str = "boss") -> str | None:
        return owner

    method.__qualname__ = f"Holder.{name}"
    return action(name=name, access_control=rule.rule)(method)


async def _same(keys: list[int]) -> list[str]:
    return ["boss"] * len(keys)


def _batched(name: str, rule: Rule) -> Callable[..., Any]:
    async def batched(self: Any) -> str | None:
        raise AssertionError("the batch is asked")

    batched.__qualname__ = f"Holder.{name}"
    batch = BatchInvoker(_same, arg_extractor=lambda holder: [holder.id])
    return action(name=name, access_control=rule.rule, batch_invoker=batch)(batched)


_METHODS = {f"nested_{name}": _method(f"nested_{name}", rule) for name, rule in RULES.items()}
_METHODS |= {
    f"batched_{name}": _batched(f"batched_{name}", rule) for name, rule in RULES.items() if not rule.looks_at_params
}
Holder: Any = dataclass(type("Holder", (), {"__annotations__": {"id": int}, "__module__": __name__, **_METHODS}))


@action(triggers=WEB_GET)
async def holders() -> list[Holder]:
    return [Holder(1), Holder(2)]


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


@contextmanager
def nested_fields() -> Iterator[dict[str, Ask]]:
    """GraphQL, where an action is a field of an object, by itself or in a batch."""
    app = create_app(actions=[holders], settings=Settings(env="dev"))
    with client(app) as http:

        def headers(caller: str) -> dict[str, str]:
            who = CALLERS[caller]
            token = token_for(app, who) if isinstance(who, Authorization) else who
            return {} if token is None else {"Authorization": f"Bearer {token}"}

        def asked(query: str, caller: str) -> str | None:
            answer = http.post("/graphql", json={"query": query}, headers=headers(caller)).json()
            codes = {error["extensions"]["code"] for error in answer.get("errors", ())}
            assert len(codes) <= 1
            return codes.pop() if codes else IN

        yield {
            "GraphQL nested": lambda rule, caller: asked(f"{{ holders {{ {camel(f'nested_{rule}')} }} }}", caller),
            "GraphQL batched": lambda rule, caller: asked(f"{{ holders {{ {camel(f'batched_{rule}')} }} }}", caller),
        }


# ------------------------------------------------------------------------------------------------------ event channels

SECRET = "a-secret-of-more-than-32-bytes-for-tests"
CHANNELS = {
    name: websocket_event_channel(f"by_{name}", str, access_control=rule.rule)
    for name, rule in RULES.items()
    if not rule.looks_at_params
}
CODES = {4401: WHO, 4403: NO}


@action(triggers=WEB_POST)
async def publish(rule: str) -> None:
    await CHANNELS[rule].publish("an event")


def channel_app() -> Servey:
    """An app with a channel for each rule that asks for no parameters."""
    return create_app(
        actions=[publish], channels=CHANNELS.values(), settings=Settings(env="dev", jwt_secret_key=SECRET)
    )


@contextmanager
def channels() -> Iterator[dict[str, Ask]]:
    """The ways in to an event channel; who is let in receives an event."""
    signer = JwtAuthorizer(OneKey(secret_key(SECRET)))

    def headers(caller: str) -> dict[str, str]:
        who = CALLERS[caller]
        token = signer.sign(who, lifetime=600) if isinstance(who, Authorization) else who
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    with serve("tests.contract.access:channel_app", factory=True) as server:

        def event_of(rule: str, receive: Callable[[], str]) -> None:
            assert httpx.post(f"{server.url}/actions/publish", json={"rule": rule}).status_code == 200
            assert "an event" in receive()

        def socket(path: str, caller: str) -> ClientConnection:
            return connect(f"ws://127.0.0.1:{server.port}/subscription{path}", additional_headers=headers(caller))

        def one_channel(rule: str, caller: str) -> str | None:
            with socket(f"/by_{rule}", caller) as opened:
                try:
                    event_of(rule, lambda: opened.recv(timeout=10))
                except ConnectionClosed as closed:
                    return CODES[closed.rcvd.code if closed.rcvd else 1006]
            return IN

        def many_channels(rule: str, caller: str) -> str | None:
            with socket("", caller) as opened:
                try:
                    opened.send(json.dumps({"type": "Subscribe", "payload": f"by_{rule}"}))
                    answer = json.loads(opened.recv(timeout=10))
                except ConnectionClosed as closed:
                    return CODES[closed.rcvd.code if closed.rcvd else 1006]
                if answer["type"] == "Subscribed":
                    event_of(rule, lambda: opened.recv(timeout=10))
                return answer.get("code")

        def event_stream(rule: str, caller: str) -> str | None:
            wanted = {"Accept": "text/event-stream", **headers(caller)}
            with httpx.stream("GET", f"{server.url}/subscription/by_{rule}", headers=wanted, timeout=10) as answer:
                if answer.status_code != 200:
                    answer.read()
                    return answer.json()["code"]
                lines = answer.iter_lines()
                event_of(rule, lambda: next(line for line in lines if line.startswith("data:")))
            return IN

        def graphql(rule: str, caller: str) -> str | None:
            address, protocol = f"ws://127.0.0.1:{server.port}/graphql", Subprotocol("graphql-transport-ws")
            with connect(address, subprotocols=[protocol], additional_headers=headers(caller)) as opened:
                opened.send(json.dumps({"type": "connection_init"}))
                assert json.loads(opened.recv(timeout=10))["type"] == "connection_ack"
                query = f"subscription {{ {camel(f'by_{rule}')} }}"
                opened.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
                message = None
                while message is None:
                    # It does not say when it is subscribed.
                    httpx.post(f"{server.url}/actions/publish", json={"rule": rule})
                    with suppress(TimeoutError):
                        message = json.loads(opened.recv(timeout=0.3))
                return message["payload"][0]["extensions"]["code"] if message["type"] == "error" else IN

        yield {
            "websocket": one_channel,
            "websocket, many": many_channels,
            "server-sent events": event_stream,
            "GraphQL subscription": graphql,
        }
