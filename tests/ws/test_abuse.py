"""Many clients, and bad ones: nothing leaks, nothing breaks, every frame is answered."""

import asyncio
import json
import os
import random
import struct
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.serving import wait_until
from tests.ws.conftest import run_server
from tests.ws.test_limits import state

pytestmark = pytest.mark.slow
KEY = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"


def held(pid: int) -> tuple[int, int]:
    """The resident bytes and the open files of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))


def masked(opcode: int, payload: bytes, *, fin: bool = True, bits: int = 0) -> bytes:
    """A client's frame. Source: RFC 6455 section 5.2."""
    mask = random.randbytes(4)
    head = bytes([(0x80 if fin else 0) | bits | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def shake_hands(port: int, path: str):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /subscription{path} HTTP/1.1\r\nHost: x\r\n{KEY}".encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@pytest.mark.timeout(150)
def test_ten_thousand_connections_leave_nothing_behind():
    async def cycles(port: int, count: int) -> None:
        for number in range(count):
            reader, writer = await shake_hands(port, ("/plain", "/kept", "")[number % 3])
            if number % 3 == 2:
                writer.write(masked(1, b'{"type": "Subscribe", "payload": "kept"}'))
                await reader.read(10)
            if number % 2:
                writer.write(masked(8, b"\x03\xe8"))
                await reader.read()
            writer.close()

    async def many(port: int, count: int) -> None:
        await asyncio.gather(*(cycles(port, count // 20) for _ in range(20)))

    with run_server() as server:
        pid = state(server)["pid"]
        asyncio.run(many(server.port, 2000))
        wait_until(lambda: state(server)["subscriptions"] == 0, "the end of all subscriptions")
        before = held(pid)
        asyncio.run(many(server.port, 10_000))
        wait_until(lambda: state(server)["subscriptions"] == 0, "the end of all subscriptions")
        wait_until(lambda: held(pid)[1] <= before[1] + 2, "the end of all connections")
        grown = held(pid)[0] - before[0]
        print(f"{grown / 1024:.0f} KiB more after 10,000 connections")
        assert grown < 4 << 20
        assert "Traceback" not in server.log.read_text(encoding="utf-8")


def bad_text(chance: random.Random) -> str:
    """Something like a frame."""
    good = {"type": "Subscribe", "payload": "plain", "after": "a:1", "subscriber_id": "me"}
    kind = chance.randrange(6)
    if kind == 0:
        return "".join(
            chr(chance.choice([*range(32, 127), 0xE4, 0x2603, 0x1F600])) for _ in range(chance.randrange(60))
        )
    if kind == 1:
        text = json.dumps(good)
        return text[: chance.randrange(len(text))]
    if kind == 2:
        return chance.choice("[{") * chance.randrange(1, 5000)
    if kind == 3:
        return json.dumps(
            {**good, chance.choice(list(good)): chance.choice([None, 1, [], {}, True, 1e308, "\x00", ["x"]])}
        )
    if kind == 4:
        return json.dumps(
            chance.choice([None, 0, "x", [good], {}, {"type": "Publish"}, {"type": "Event", "payload": "x"}])
        )
    return json.dumps({"type": "Unsubscribe", "payload": "y" * chance.randrange(3000)})


@pytest.mark.timeout(150)
def test_ten_thousand_malformed_frames():
    async def texts(port: int, seed: int) -> int:
        chance, answered = random.Random(seed), 0
        async with connect(f"ws://127.0.0.1:{port}/subscription", max_size=None, compression=None) as socket:
            for _ in range(900):
                await socket.send(bad_text(chance) if chance.random() < 0.95 else chance.randbytes(20))
                frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
                assert frame["type"] in ("Error", "Subscribed"), frame
                if frame["type"] == "Subscribed":
                    await socket.send('{"type": "Unsubscribe", "payload": "plain"}')
                    assert json.loads(await socket.recv())["type"] == "Unsubscribed"
                answered += 1
        return answered

    async def wires(port: int, seed: int) -> int:
        """Frames that the protocol itself forbids: each ends its connection with a close frame that says so."""
        chance, closed = random.Random(seed), 0
        size = (1 << 20) + 1
        too_large = b"\x82\xff" + struct.pack("!Q", size) + bytes(4) + b"x" * size  # a mask of zeros
        for _ in range(100):
            reader, writer = await shake_hands(port, chance.choice(("", "/plain")))
            wrong = [
                masked(1, b"x", bits=0x40),
                masked(chance.choice([3, 4, 7, 11, 15]), b""),
                masked(9, b"x" * 126),
                masked(9, b"", fin=False),
                masked(1, b"\xff\xfe"),
                masked(0, b"x"),
                masked(8, b"\x00"),
                masked(8, b"\x00\x05"),
                b"\x81\x01x",
                masked(1, b"x", fin=False) + masked(1, b"y"),
                b"\x81\xff" + b"\xff" * 12,
                too_large,
            ]
            writer.write(wrong[closed % len(wrong)])
            while True:
                head = await asyncio.wait_for(reader.readexactly(2), 10)
                size = head[1] if head[1] < 126 else int.from_bytes(await reader.readexactly(2), "big")
                payload = await reader.readexactly(size)
                if head[0] == 0x88:
                    assert int.from_bytes(payload[:2], "big") in (1002, 1007, 1009), (closed % len(wrong), payload)
                    break
            closed += 1
            writer.close()
        return closed

    async def main(port: int) -> int:
        several = [texts(port, seed) for seed in range(10)] + [wires(port, seed) for seed in range(10)]
        return sum(await asyncio.gather(*several))

    with run_server(SERVEY_CHANNEL_IDLE="600") as server:
        assert asyncio.run(main(server.port)) == 10_000
        assert state(server)["subscriptions"] == 0
        assert "Traceback" not in server.log.read_text(encoding="utf-8")


@pytest.mark.timeout(120)
def test_one_of_a_thousand_stops_reading_and_the_others_do_not_notice():
    from tests.ws.test_limits import raw_socket

    async def main(server) -> float:
        arrived: dict[int, list[float]] = {}
        ready = asyncio.Semaphore(0)

        async def one(number: int) -> None:
            async with connect(
                f"ws://127.0.0.1:{server.port}/subscription/plain", open_timeout=60, ping_interval=None
            ) as socket:
                ready.release()
                try:
                    async for text in socket:
                        event = json.loads(text[:20].partition(",")[0] + "}")
                        arrived.setdefault(event["n"], []).append(asyncio.get_running_loop().time())
                except ConnectionClosed:
                    pass

        tasks = [asyncio.create_task(one(number)) for number in range(999)]
        for _ in tasks:
            await ready.acquire()
        spreads: dict[bool, list[float]] = {False: [], True: []}
        number = 0
        for with_slow in (False, True):
            slow = raw_socket(server, "/plain") if with_slow else None
            for _ in range(15):
                body = {"channel": "plain", "event": {"n": number, "text": "x" * 2000}}
                await asyncio.to_thread(http.post, f"{server.url}/actions/publish", json=body)
                while len(arrived.get(number, ())) < 999:
                    await asyncio.sleep(0.005)
                spreads[with_slow].append(max(arrived[number]) - min(arrived[number]))
                number += 1
            if with_slow:
                for _ in range(10):
                    body = {"channel": "plain", "event": {"n": number, "text": "x" * 900_000}}
                    await asyncio.to_thread(http.post, f"{server.url}/actions/publish", json=body, timeout=60)
                    number += 1
                    if state(server)["subscriptions"] == 999:
                        break
                assert state(server)["subscriptions"] == 999
                slow.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        middle = {key: sorted(values)[len(values) // 2] for key, values in spreads.items()}
        print(
            f"from the first to the last of 999: {middle[False] * 1000:.0f} ms, {middle[True] * 1000:.0f} ms beside a slow one"
        )
        return middle[True] - middle[False]

    import httpx

    with run_server(SERVEY_CHANNEL_QUEUE_BYTES="300000") as server, httpx.Client(timeout=60) as http:
        assert asyncio.run(main(server)) < 0.05
