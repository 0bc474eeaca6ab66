"""Liveness is progress; readiness is ability; a declared wait is neither fault."""

from __future__ import annotations

from stream.telemetry.health import Health


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_that_stops_beating_is_stalled_until_it_beats_again() -> None:
    clock = Clock()
    health = Health(stall_s=10, clock=clock)
    loop = health.loop("poll")
    clock.now += 9
    assert not health.stalled()
    clock.now += 2
    assert health.stalled() == {"poll": "no progress for 11 s"}
    loop.beat()
    assert not health.stalled()


def test_a_declared_wait_counts_as_moving_and_not_a_second_longer() -> None:
    clock = Clock()
    health = Health(stall_s=10, clock=clock)
    health.loop("poll").allow(60)
    clock.now += 69
    assert not health.stalled()
    clock.now += 2
    assert health.stalled()


def test_a_loop_that_ended_as_it_should_is_not_missed() -> None:
    clock = Clock()
    health = Health(stall_s=10, clock=clock)
    health.loop("poll")
    health.end("poll")
    clock.now += 1000
    assert not health.stalled()


def test_every_condition_and_probe_must_hold() -> None:
    health = Health(stall_s=10)
    joined = health.require("kafka group", "not joined yet")
    answers = [ConnectionError("connection refused\nis the server running?"), None]

    def ask() -> None:
        if (answer := answers[0]) is not None:
            raise answer

    health.probe("postgres", ask)
    assert health.not_ready() == {
        "kafka group": "not joined yet",
        "postgres": "ConnectionError: connection refused",
    }
    joined.met()
    answers.pop(0)
    assert health.not_ready() == {}
    joined.unmet("left the group")
    assert health.not_ready() == {"kafka group": "left the group"}
