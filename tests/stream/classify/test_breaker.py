"""Breakers: what opens them, what closes them, and who gets through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.classify.breaker import Breaker, HostBreakers


@given(st.lists(st.booleans(), max_size=200), st.integers(2, 20), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_it_opens_exactly_when_a_full_window_is_bad_enough(outcomes: list[bool], window: int, share: float) -> None:
    breaker = Breaker(window, share)
    recent: list[bool] = []
    for bad in outcomes:
        breaker.observe(bad)
        recent = [*recent, bad][-window:]
        if breaker.is_open:
            assert len(recent) == window
            assert sum(recent) >= share * window
            return
        assert len(recent) < window or sum(recent) < share * window


def test_one_good_outcome_closes_it_and_the_window_starts_anew() -> None:
    breaker = Breaker(10, 0.9)
    for _ in range(10):
        breaker.observe(True)
    assert breaker.is_open
    breaker.observe(True)
    assert breaker.is_open
    breaker.observe(False)
    assert not breaker.is_open
    for _ in range(9):
        breaker.observe(True)
    assert not breaker.is_open
    breaker.observe(True)
    assert breaker.is_open


def test_a_host_that_fails_for_most_is_tried_once_a_pause_and_others_are_not_touched() -> None:
    hosts = HostBreakers(pause_s=30.0)
    assert not hosts.watching
    for _ in range(HostBreakers.WINDOW):
        assert hosts.admits("bad", 100.0)
        hosts.observe("bad", True, 100.0)
        hosts.observe("good", False, 100.0)
    assert hosts.is_open("bad")
    assert hosts.admits("good", 100.0)
    assert not hosts.admits("bad", 129.9)
    assert hosts.admits("bad", 130.0)  # the probe
    assert not hosts.admits("bad", 130.1)
    hosts.observe("bad", True, 131.0)
    assert not hosts.admits("bad", 159.9)
    assert hosts.admits("bad", 160.0)
    hosts.observe("bad", False, 161.0)
    assert not hosts.any_open
    assert hosts.admits("bad", 161.0)


def test_hosts_named_by_strangers_do_not_fill_the_memory() -> None:
    hosts = HostBreakers(pause_s=1.0)
    for number in range(3 * HostBreakers.HOSTS):
        hosts.observe(f"host-{number}", True, 0.0)
    assert len(hosts._breakers) == HostBreakers.HOSTS
