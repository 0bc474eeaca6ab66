"""Which addresses of the network may be fetched from. Pure, but for the one function that asks the resolver.

An allowlist of names is not enough: a name that is allowed may resolve to a machine inside (its owner's mistake, a
takeover, DNS rebinding). So the addresses themselves are judged, and the connection is made to an address judged.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from stream.classify.analyse import PoisonError, TransientError

Address = IPv4Address | IPv6Address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# What ipaddress calls global and is not a host of the public internet.
_NOT_PUBLIC = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata service is at .192
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # a cloud's host agent
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address in disguise
    IPv6Network("3fff::/20"),  # documentation
)
_LOOKS_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*", re.IGNORECASE)


def is_public(address: Address) -> bool:
    """Whether this is a host of the public internet: not ours, not this machine's, not a cloud's metadata service."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _GLOBAL_UNICAST or address.scope_id is not None:
            return False
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def host_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Whether `host` is one of `allowed`: names, or '.suffix' for every name below it. An empty list allows nothing."""
    for entry in allowed:
        entry = entry.lower().rstrip(".")
        if host == entry or (entry.startswith(".") and host.endswith(entry) and host != entry):
            return True
    return False


def is_disguised(host: str) -> bool:
    """Whether `host` is an IPv4 address as only a resolver reads it: 2130706433, 0177.0.0.1, 127.1, 0x7f.0.0.1."""
    if not _LOOKS_NUMERIC.fullmatch(host):
        return False
    try:
        IPv4Address(host)
    except ValueError:
        return True
    return False


def is_literal(host: str) -> bool:
    """Whether `host` is an address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def judged(host: str, found: Sequence[str], is_allowed: Callable[[Address], bool]) -> list[Address]:
    """All addresses of a name, if every one is allowed.

    Raises PoisonError where one is not: with an address inside as well, a name is asked until that one comes up. Raises
    TransientError where there is none.
    """
    addresses = [ip_address(text) for text in found]
    if not addresses:
        raise TransientError("dns", f"{host} has no address", host=host)
    for address in addresses:
        if not is_allowed(address):
            raise PoisonError("address_refused", f"{host} is at {address}, which is not of the public internet")
    return addresses


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses the system's resolver gives. Raises TransientError: a name that fails today may be mended."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise TransientError("dns", f"{host}: {error}", host=host) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
