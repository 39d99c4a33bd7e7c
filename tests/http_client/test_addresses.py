"""Which addresses are closed, whatever they are written like."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from toque.http_client.addresses import METADATA, why_closed
from toque.http_client.allowance import Allowance, read_entry

CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "100.100.100.200",
    "169.254.170.2",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:0",
    "::10.1.2.3",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:808:808::",
    "2001::1",
    "2001:0:7f00:1::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "100::1",
    "4000::1",
    "5f00::1",
    "8000::1",
]

OPEN = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.31.196.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "2620:4f:8000::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("text", CLOSED)
def test_an_address_that_is_not_public_is_closed(text: str) -> None:
    assert why_closed(ip_address(text)) is not None
    assert Allowance().why_refused("shop.example", 443, ip_address(text)) is not None


@pytest.mark.parametrize("text", OPEN)
def test_a_public_address_is_open_on_the_usual_ports_only(text: str) -> None:
    address = ip_address(text)

    assert why_closed(address) is None
    assert [Allowance().why_refused("shop.example", port, address) for port in (80, 443)] == [None, None]
    assert Allowance().why_refused("shop.example", 6379, address) == "port 6379 is not open"


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "is_open"),
    [
        ("10.0.0.0/8", "a.internal", 80, "10.1.2.3", True),
        ("10.0.0.0/8", "a.internal", 80, "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "a.internal", 80, "64:ff9b::10.1.2.3", True),
        ("10.0.0.0/8", "a.internal", 8080, "10.1.2.3", False),
        ("10.0.0.0/8:8080", "a.internal", 8080, "10.1.2.3", True),
        ("10.0.0.0/8:8080", "a.internal", 80, "10.1.2.3", False),
        ("10.0.0.0/8:*", "a.internal", 9, "10.1.2.3", True),
        ("10.0.0.0/8", "a.internal", 80, "11.1.2.3", True),
        ("10.0.0.0/8", "a.internal", 80, "172.16.0.1", False),
        ("a.internal", "a.internal", 443, "10.1.2.3", True),
        ("A.Internal.", "a.internal", 443, "10.1.2.3", True),
        ("a.internal", "b.internal", 443, "10.1.2.3", False),
        ("a.internal", "x.a.internal", 443, "10.1.2.3", False),
        ("a.internal:*", "a.internal", 9, "8.8.8.8", True),
        ("[::1]:9000", "::1", 9000, "::1", True),
        ("::1", "::1", 80, "::1", True),
        ("[fd00::/8]:*", "x", 9, "fd00::7", True),
        # What tells a machine its credentials is opened by its own address, and by nothing else.
        ("169.254.0.0/16", "x", 80, "169.254.169.254", False),
        ("0.0.0.0/0", "x", 80, "169.254.169.254", False),
        ("x", "x", 80, "169.254.169.254", False),
        ("fd00::/8", "x", 80, "fd00:ec2::254", False),
        ("169.254.169.254", "x", 80, "169.254.169.254", True),
        ("169.254.169.254", "x", 80, "::ffff:169.254.169.254", True),
    ],
)
def test_what_is_allowed_is_open_and_nothing_beside_it(
    entry: str, host: str, port: int, address: str, is_open: bool
) -> None:
    assert (Allowance([entry]).why_refused(host, port, ip_address(address)) is None) is is_open


@pytest.mark.parametrize(
    "text", ["", "http://a", "a/b", "10.0.0.1/8", "a:0", "a:65536", "a:b", "[::1", "a b", "*", "-a"]
)
def test_an_entry_that_is_none_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|host|port"):
        read_entry(text)


def test_every_metadata_service_is_closed() -> None:
    assert {why_closed(address) for address in METADATA} == {"a cloud's metadata service"}
