"""Which addresses lie in the public internet, and why the others do not.

Python's own `is_global` is not asked: its table was wrong until 3.11.10 and 3.12.4 (CVE-2024-4032), and it knows
nothing of addresses within addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import inet_aton

__all__ = ["METADATA", "Address", "Network", "literal", "plain", "why_closed"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA: frozenset[Address] = frozenset(
    {
        IPv4Address("169.254.169.254"),  # AWS, Google Cloud, Azure, DigitalOcean, OpenStack, Hetzner
        IPv4Address("169.254.170.2"),  # AWS ECS: credentials of the task
        IPv4Address("169.254.170.23"),  # AWS EKS: credentials of the pod
        IPv4Address("168.63.129.16"),  # Azure's host agent; the only one with a public address
        IPv4Address("100.100.100.200"),  # Alibaba Cloud
        IPv4Address("192.0.0.192"),  # Oracle Cloud, older images
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd20:ce::254"),  # Google Cloud
    }
)
"""Where clouds tell a machine its own credentials."""

_CLOSED: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by a carrier"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "local translation"),
    ("2001::/23", "reserved for protocols"),  # with Teredo, whose addresses hold others
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),  # holds IPv4 addresses; given up by RFC 7526
    ("3fff::/20", "documentation"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
)
"""IANA's registries of special-purpose addresses (RFC 6890), as of 2026, without what is globally reachable."""

_NETWORKS = [(ip_network(network), why) for network, why in _CLOSED]

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All of IPv6 that was ever given to anybody (RFC 4291, 2.4)."""

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""An IPv4 address behind NAT64 (RFC 6052, 2.1)."""

_COMPATIBLE = IPv6Network("::/96")
"""An IPv4 address in the form that RFC 4291, 2.5.5.1, gave up; `::` and `::1` are none."""


def literal(host: str) -> Address | None:
    """The address that *host* is, in any form one dials (`127.1`, `0177.0.0.1`, `2130706433`); None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(inet_aton(host))
    except OSError:
        return None


def plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for; any other as it is."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def why_closed(address: Address) -> str | None:
    """What kind of address *address* is that the public internet does not lead to; None where it does."""
    address = plain(address)
    if address in METADATA:
        return "a cloud's metadata service"
    for network, why in _NETWORKS:
        if address in network:
            return why
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "not global"
    return None
