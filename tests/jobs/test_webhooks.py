"""Webhooks to a real receiver on this machine that behaves as receivers do."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from servey import ConfigError, Retry, Settings, create_app, webhook_event_channel
from servey.jobs.webhooks import seconds_of, signed_headers

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, or so").decode()
QUICK = Retry(max_tries=4, backoff=0.01, factor=1)


@dataclass
class Receiver:
    """Answers with what it is told to, one after another; the last answer again and again."""

    answers: list[tuple[int, dict[str, str], bytes]]
    port: int = 0
    got: list[tuple[float, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def receiver(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Receiver]:
    made = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.got.append((time.monotonic(), {name.lower(): value for name, value in self.headers.items()}, body))
            status, headers, text = made.answers.pop(0) if len(made.answers) > 1 else made.answers[0]
            if status == HANGS:
                time.sleep(1)
                return
            if status == CLOSES:
                return
            try:
                self.send_response(status)
                for name, value in {"content-length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)
            except OSError:
                pass  # whoever asked has heard enough

        do_GET = do_POST

        def log_message(self, *words: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


HANGS, CLOSES = -1, -2
OK = (204, {}, b"")


def answer(status: int, text: bytes = b"", **headers: str):
    return (status, {name.replace("_", "-"): value for name, value in headers.items()}, text)


@asynccontextmanager
async def delivered(url: str, *, settings: Settings | None = None, **more):
    """What has become of one event's delivery."""
    channel = webhook_event_channel("invoices", url, dict[str, int], **{"retry": QUICK, **more})
    made = create_app(channels=[channel], settings=settings or Settings(env="dev", job_grace=5))
    async with made.router.lifespan_context(made), asyncio.timeout(20):
        await channel.publish({"number": 7})
        queue = made.runtime.queue
        while any(each.state != "dead" for each in await queue.jobs()):
            await asyncio.sleep(0.01)
        yield next(iter(await queue.jobs()), None)


async def test_a_delivery_is_signed_by_standard_webhooks():
    with receiver(OK) as hook:
        async with delivered(hook.url, secret=SECRET, headers={"X-Tenant": "t1"}) as dead:
            assert dead is None
    [(_, headers, body)] = hook.got
    assert json.loads(body) == {"number": 7}
    assert headers["x-tenant"] == "t1"
    assert headers["content-type"] == "application/json"
    Webhook(SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)


def test_two_secrets_give_two_signatures():
    other = "whsec_" + base64.b64encode(b"another secret of thirty-two bytes").decode()
    headers = signed_headers(f"{SECRET} {other}", "id-1", b"{}", int(time.time()))
    for secret in (SECRET, other):
        Webhook(secret).verify(b"{}", headers)


async def test_without_a_secret_nothing_signs_it():
    with receiver(OK) as hook:
        async with delivered(hook.url) as dead:
            assert dead is None
    assert "webhook-signature" not in hook.got[0][1]


@pytest.mark.parametrize("bad", [answer(500), answer(503), answer(302, location="/elsewhere"), answer(CLOSES)])
async def test_what_may_be_better_later_is_tried_again_under_the_same_id(bad):
    with receiver(bad, bad, OK) as hook:
        async with delivered(hook.url, secret=SECRET) as dead:
            assert dead is None
    assert len(hook.got) == 3
    assert len({headers["webhook-id"] for _, headers, _ in hook.got}) == 1


async def test_a_receiver_that_hangs_is_given_up_on_after_its_timeout():
    with receiver(answer(HANGS), OK) as hook:
        async with delivered(hook.url, timeout=0.2) as dead:
            assert dead is None
    assert hook.got[1][0] - hook.got[0][0] < 1


async def test_a_receiver_that_hangs_delays_no_other_ones():
    with receiver(answer(HANGS)) as mute, receiver(OK) as hook:
        stuck = webhook_event_channel("stuck", mute.url, dict[str, int], timeout=1, retry=QUICK)
        well = webhook_event_channel("well", hook.url, dict[str, int], retry=QUICK)
        settings = Settings(env="dev", job_concurrency=4, webhook_concurrency=2, job_grace=0)
        made = create_app(channels=[stuck, well], settings=settings)
        async with made.router.lifespan_context(made), asyncio.timeout(20):
            begun = time.monotonic()
            for number in range(20):
                await stuck.publish({"number": number})
            await well.publish({"number": 7})
            while not hook.got:
                await asyncio.sleep(0.01)
            assert hook.got[0][0] - begun < 0.9  # before the first of the others is given up on
            assert len(mute.got) == 2
            waiting = [each for each in await made.runtime.queue.jobs() if each.state == "queued"]
            assert {each.tries for each in waiting} == {0}  # to be put off is no try


async def test_retry_after_is_kept():
    with receiver(answer(429, retry_after="1"), OK) as hook:
        async with delivered(hook.url) as dead:
            assert dead is None
    assert 1 <= hook.got[1][0] - hook.got[0][0] < 5


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
async def test_what_is_refused_is_not_tried_again(status):
    with receiver(answer(status, b"no, thank you")) as hook:
        async with delivered(hook.url) as dead:
            assert (dead.state, dead.tries) == ("dead", 1)
            assert dead.error == {"detail": f"the receiver answered {status}: no, thank you", "code": "webhook_refused"}
    assert len(hook.got) == 1


async def test_all_tries_used_up_it_is_dead_with_a_piece_of_what_was_said():
    with receiver(answer(500, b"x" * 10_000_000)) as hook:
        async with delivered(hook.url) as dead:
            assert (dead.state, dead.tries, dead.error["code"]) == ("dead", 4, "webhook_failed")
            assert len(dead.error["detail"]) < 600
    assert len(hook.got) == 4


async def test_a_redirect_is_not_followed():
    with receiver(OK) as other, receiver(answer(307, location=f"http://127.0.0.1:{other.port}/")) as hook:
        async with delivered(hook.url) as dead:
            assert dead.error["detail"].startswith("the receiver answered 307")
        assert other.got == []


async def test_production_refuses_addresses_of_its_own_network():
    settings = Settings(env="prod", jwt_secret_key="9f1c0d8be34a7f25c6e90b1d7a4f8e6203c5d9ab")
    with receiver(OK) as hook:
        async with delivered(hook.url, settings=settings) as dead:
            assert dead.error == {"detail": "127.0.0.1 is inside a private network", "code": "webhook_refused"}
    assert hook.got == []


async def test_nobody_listens():
    with receiver(OK) as hook:
        pass
    async with delivered(hook.url) as dead:
        assert dead.error["code"] == "webhook_failed"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://a", r"'ftp://a' is not the URL of a webhook"),
        ("https://", "has no host"),
        ("https://:443/", "has no host"),
        ("https://a:99999", "is invalid: Port out of range"),
        ("https://a:x", "is invalid: Port could not be cast"),
        ("https://a:0/", "has the port 0"),
        ("https://[::1/", "is invalid: Invalid IPv6 URL"),
        ("https://a/b c", "has a character that a URL cannot have"),
        ("https://a/\r\nx: y", "has a character that a URL cannot have"),
        ("https://caf\xe9.example/", "has a character that a URL cannot have"),
        (
            "https://user:secret@a/",
            "^channel 'x': the URL of a contains a user name or a password; send them in a header$",
        ),
        ("https://a/#top", "has a fragment"),
    ],
)
def test_a_url_that_can_not_be_stops_the_start(url, problem):
    with pytest.raises(ConfigError, match=problem):
        webhook_event_channel("x", url, int)


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"X Y": "a"}, "'X Y' is not the name of a header"),
        ({"": "a"}, "'' is not the name of a header"),
        (
            {"X-A": "secret\r\nX-B: c"},
            "^channel 'x': the value of header 'X-A' has a character that a header cannot have$",
        ),
        ({"X-A": "\u20ac"}, "has a character that a header cannot have"),
        ({"X-A": 5}, "the value of header 'X-A' is a int; use text"),
        ({"Webhook-Id": "a"}, "the header 'Webhook-Id' is set by each delivery"),
        ({"Content-Length": "1"}, "the header 'Content-Length' is set by each delivery"),
        ({"X-A": "a", "x-a": "b"}, "the header 'x-a' is given twice"),
    ],
)
def test_headers_that_can_not_be_stop_the_start(headers, problem):
    with pytest.raises(ConfigError, match=problem):
        webhook_event_channel("x", "https://a.example/", int, headers=headers)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_timeout_that_can_not_be_stops_the_start(timeout):
    with pytest.raises(ConfigError, match="timeout is .*; use a number of seconds above 0"):
        webhook_event_channel("x", "https://a.example/", int, timeout=timeout)


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "the secret is empty"),
        ("  ", "the secret is empty"),
        (b"", "the secret is empty"),
        ("whsec_", "begins with whsec_, but what follows is not base64"),
        ("whsec_not!base64", "begins with whsec_, but what follows is not base64"),
        ("whsec_a-b_", "begins with whsec_, but what follows is not base64"),
        ("whsec_abcde", "begins with whsec_, but what follows is not base64"),
        ("whsk_YWJj", "asymmetric signatures, which are not supported"),
        (5, "the secret is a int"),
    ],
)
def test_a_secret_that_can_not_be_stops_the_start_and_is_not_shown(secret, problem):
    with pytest.raises(ConfigError, match=problem) as caught:
        webhook_event_channel("x", "https://a.example/", int, secret=secret)
    assert not any(text in str(caught.value) for text in ("abcde", "a-b_", "!base64", "YWJj"))


RAW = b"a secret of thirty-two bytes, or s"  # its base64 has padding


@pytest.mark.parametrize(
    ("secret", "receivers"),
    [
        ("whsec_" + base64.b64encode(RAW).decode(), ["whsec_" + base64.b64encode(RAW).decode(), RAW]),
        ("whsec_" + base64.b64encode(RAW).decode().rstrip("="), [RAW]),
        (base64.b64encode(RAW).decode(), [base64.b64encode(RAW).decode(), RAW, base64.b64encode(RAW)]),
        (base64.b64encode(RAW).decode().rstrip("="), [RAW]),
        (RAW, [RAW]),
        (bytes(range(256)), [bytes(range(256))]),
        ("a secret".replace(" ", "-") + "!", [b"a-secret!"]),
        ("geheim-\xfc", ["geheim-\xfc".encode()]),
    ],
)
def test_a_receiver_with_the_same_secret_verifies_the_signature(secret, receivers):
    headers = signed_headers(secret, "id-1", b"{}", int(time.time()))
    for receiver in receivers:
        Webhook(receiver).verify(b"{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(b"another secret").verify(b"{}", headers)


async def test_a_channel_may_set_its_own_content_type():
    with receiver(OK) as hook:
        headers = {"Content-Type": "application/cloudevents+json", "User-Agent": "ours"}
        async with delivered(hook.url, secret=RAW, headers=headers) as dead:
            assert dead is None
    [(_, sent, body)] = hook.got
    assert (sent["content-type"], sent["user-agent"]) == ("application/cloudevents+json", "ours")
    Webhook(RAW).verify(body, sent)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), (" 7 ", 7), ("soon", None), ("-1", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("9" * 30, 999_999_999)],
)
def test_retry_after(text, seconds):
    assert seconds_of(text) == seconds
