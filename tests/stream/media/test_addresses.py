"""Which addresses are of the public internet, and which names may be asked."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.classify.analyse import PoisonError, TransientError
from stream.media.addresses import host_allowed, is_disguised, is_public, judged

INSIDE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3"),
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16"),
    *("192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "2001:10::1", "3fff::1", "100::1", "5f00::1"),
]
OUTSIDE = [
    *("1.1.1.1", "8.8.8.8", "172.15.0.1", "100.128.0.1"),
    *("2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"),
]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_outside_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_judged_alike_in_every_wrapping(address: IPv4Address) -> None:
    verdict = is_public(address)
    assert is_public(IPv6Address(f"::ffff:{address}")) == verdict
    assert is_public(IPv6Address(int(IPv6Address("64:ff9b::")) | int(address))) == verdict
    assert not is_public(IPv6Address(f"::{address}"))


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.1", "0x7f.0.0.1", "0", "00.00.00.00", "1.2.3.256"],
)
def test_an_address_that_only_a_resolver_reads_is_disguised(host: str) -> None:
    assert is_disguised(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "8.8.8.8", "cdn.example.com", "0x.example.com", "1.2.3.4.example"])
def test_names_and_plain_addresses_are_not_disguised(host: str) -> None:
    assert not is_disguised(host)


def test_only_hosts_on_the_list_are_asked() -> None:
    allowed = ("cdn.example.com", ".Media.example.org")
    assert host_allowed("cdn.example.com", allowed)
    assert host_allowed("a.b.media.example.org", allowed)
    for host in ("example.com", "xcdn.example.com", "a.cdn.example.com", "media.example.org", "evilmedia.example.org"):
        assert not host_allowed(host, allowed)


def test_an_empty_list_allows_nothing() -> None:
    assert not host_allowed("cdn.example.com", ())


def test_one_address_inside_condemns_the_name() -> None:
    assert [str(a) for a in judged("h", ["1.1.1.1", "2606:4700::1111"], is_public)] == ["1.1.1.1", "2606:4700::1111"]
    with pytest.raises(PoisonError) as caught:
        judged("h", ["1.1.1.1", "10.0.0.1"], is_public)
    assert caught.value.code == "address_refused"


def test_a_name_without_an_address_is_tried_again() -> None:
    with pytest.raises(TransientError) as caught:
        judged("h", [], is_public)
    assert caught.value.host == "h"
