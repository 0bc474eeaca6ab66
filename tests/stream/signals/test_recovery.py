"""A recovery that takes long is an alarm, one that takes twice as long is the end; on a clock of the test's own."""

from __future__ import annotations

import logging

import pytest

from schemas.errors import ExitCode, UserError
from stream.signals.recovery import RecoveryWatch
from stream.telemetry import metrics
from stream.telemetry.health import Health


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def alarm() -> float:
    return metrics.RECOVERY_ALARM._value.get()


def test_recovery_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    clock, health = Clock(), Health(60.0)
    watch = RecoveryWatch(health.require("recovery"), 10.0, clock)
    clock.now = 10.5
    with caplog.at_level(logging.CRITICAL):
        watch.check()
        watch.check()
    assert len(caplog.records) == 1
    assert alarm() == 1
    assert "recovery" in health.not_ready()
    watch.begins()  # a rebalance in the midst of it gives no new time
    clock.now = 20.5
    with pytest.raises(UserError) as ended:
        watch.check()
    assert ended.value.code is ExitCode.UNREACHABLE


def test_a_recovery_that_ends_takes_the_alarm_back() -> None:
    clock, health = Clock(), Health(60.0)
    watch = RecoveryWatch(health.require("recovery"), 10.0, clock)
    clock.now = 15.0
    watch.check()
    watch.ends()
    assert alarm() == 0
    assert not health.not_ready()
    clock.now = 1000.0
    watch.check()
    assert not watch.going_on
