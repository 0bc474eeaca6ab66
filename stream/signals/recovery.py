"""How long the table takes to come back from its changelog: an alarm after a while, and the end after twice that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from schemas.errors import ExitCode, UserError
from stream.telemetry import metrics
from stream.telemetry.health import Condition

_log = logging.getLogger(__name__)


class RecoveryWatch:
    """begins() and ends() with each recovery; check() in between. The condition is what /readyz says of it."""

    def __init__(self, condition: Condition, alarm_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._condition = condition
        self._alarm_s = alarm_s
        self._clock = clock
        self._since: float | None = None
        self._alarmed = False
        self.begins()

    @property
    def going_on(self) -> bool:
        return self._since is not None

    def begins(self) -> None:
        """Also while one is going on: it counts from its own beginning."""
        if self._since is None:
            self._since = self._clock()
        self._condition.unmet("the table is being recovered from its changelog")

    def ends(self) -> None:
        if self._since is not None:
            seconds = self._clock() - self._since
            metrics.RECOVERY_SECONDS.set(seconds)
            _log.info("the table is recovered, after %.1f s", seconds)
        self._since = None
        self._alarmed = False
        metrics.RECOVERY_ALARM.set(0)
        self._condition.met()

    def check(self) -> None:
        """Raises UserError where it takes twice as long as the alarm allows: a new process may do better."""
        seconds = 0.0 if self._since is None else self._clock() - self._since
        if seconds > 2 * self._alarm_s:
            raise UserError(
                f"the table was not recovered within {seconds:.0f} s",
                "start the job again; if it comes back to this, look at the brokers, or raise signals.recovery_alarm_s",
                ExitCode.UNREACHABLE,
            )
        if seconds > self._alarm_s and not self._alarmed:
            self._alarmed = True
            metrics.RECOVERY_ALARM.set(1)
            _log.critical("the table is being recovered for %.0f s, and no end: nothing is counted meanwhile", seconds)
