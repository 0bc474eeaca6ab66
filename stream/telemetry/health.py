"""Liveness is progress, readiness is ability: loops beat, conditions are met, probes are asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Clock = Callable[[], float]


class Loop:
    """The pulse of one loop. A declared wait counts as moving until it is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._alive_until = clock()

    def beat(self) -> None:
        self._alive_until = self._clock()

    def allow(self, seconds: float) -> None:
        """Declare that the next step may take this long (a back-off, a drain)."""
        self._alive_until = self._clock() + seconds

    def silent_s(self) -> float:
        return max(0.0, self._clock() - self._alive_until)


class Condition:
    """Something that must hold before this process is ready (model loaded, group joined)."""

    def __init__(self, why_not: str) -> None:
        self.why_not: str | None = why_not

    def met(self) -> None:
        self.why_not = None

    def unmet(self, why: str) -> None:
        self.why_not = why


class Health:
    """What /livez and /readyz answer from. Thread-safe."""

    def __init__(self, stall_s: float, clock: Clock = time.monotonic) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._lock = threading.Lock()
        self._loops: dict[str, Loop] = {}
        self._conditions: dict[str, Condition] = {}
        self._probes: dict[str, Callable[[], None]] = {}

    def loop(self, name: str) -> Loop:
        """Watch a loop from now on. It must beat, or declare a wait, at least every `stall_s` seconds."""
        with self._lock:
            loop = self._loops[name] = Loop(self._clock)
        return loop

    def end(self, name: str) -> None:
        """The loop ended as it should: silence is no fault any more."""
        with self._lock:
            self._loops.pop(name, None)

    def require(self, name: str, why_not: str = "starting") -> Condition:
        with self._lock:
            condition = self._conditions[name] = Condition(why_not)
        return condition

    def probe(self, name: str, check: Callable[[], None]) -> None:
        """Ask at each /readyz; whatever `check` raises is the reason why not. It must be quick, or time out."""
        with self._lock:
            self._probes[name] = check

    def stalled(self) -> dict[str, str]:
        """Loops that do not move, and for how long. Empty: live."""
        with self._lock:
            loops = dict(self._loops)
        silent = {name: loop.silent_s() for name, loop in loops.items()}
        return {name: f"no progress for {s:.0f} s" for name, s in silent.items() if s > self._stall_s}

    def not_ready(self) -> dict[str, str]:
        """Conditions and probes that do not hold, and why. Empty: ready."""
        with self._lock:
            conditions, probes = dict(self._conditions), dict(self._probes)
        reasons = {name: held.why_not for name, held in conditions.items() if held.why_not is not None}
        for name, check in probes.items():
            try:
                check()
            except Exception as error:  # a probe's failure is its answer
                reasons[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return reasons
