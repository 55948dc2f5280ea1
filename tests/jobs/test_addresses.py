"""Which addresses a webhook may be sent to; nothing here connects to any of them."""

import httpcore2
import pytest

from servey.jobs.addresses import PublicNetwork, RefusedAddress, is_public

PRIVATE = [
    "127.0.0.1",
    "127.1.2.3",
    "0.0.0.0",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "169.254.169.254",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "198.18.0.1",
    "198.19.255.255",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "ff02::1",
    "64:ff9b:1::1",
    "fec0::1",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "2002:a00:1::",
    "64:ff9b::a00:1",
    "2001:0:a00:1::f5ff:fffe",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_ones_own_network(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet(address):
    assert is_public(address)


class Connector(httpcore2.AsyncNetworkBackend):
    """Notes what it was to connect to, and connects to nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.asked.append((host, port))
        return httpcore2.AsyncMockStream([b"HTTP/1.1 204 No Content\r\n\r\n"])


def network(*answers: list[str]) -> tuple[PublicNetwork, Connector]:
    connector, left = Connector(), list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return left.pop(0)

    return PublicNetwork(connector, resolve), connector


@pytest.mark.anyio
@pytest.mark.parametrize("answers", [["10.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:192.168.1.1"]])
async def test_a_host_with_a_private_address_is_refused_before_a_socket_is_opened(answers):
    guarded, connector = network(answers)
    with pytest.raises(RefusedAddress, match=r"example\.test is inside a private network"):
        await guarded.connect_tcp("example.test", 443)
    assert connector.asked == []


@pytest.mark.anyio
async def test_it_connects_to_the_very_address_that_it_has_looked_at():
    guarded, connector = network(["1.1.1.1"], ["127.0.0.1"])
    await guarded.connect_tcp("example.test", 443)
    assert connector.asked == [("1.1.1.1", 443)]
    with pytest.raises(RefusedAddress):
        await guarded.connect_tcp("example.test", 443)


@pytest.mark.anyio
async def test_a_host_without_an_address():
    guarded, _ = network([])
    with pytest.raises(OSError, match="has no address"):
        await guarded.connect_tcp("example.test", 443)


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "[::1]"])
async def test_other_spellings_of_this_machine(host):
    # The system's own resolver says what they are; none of them leaves the machine.
    connector = Connector()
    with pytest.raises((RefusedAddress, OSError)):
        await PublicNetwork(connector).connect_tcp(host.strip("[]"), 80)
    assert connector.asked == []
