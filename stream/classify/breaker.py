"""When nearly everything fails, the fault is not the input's. Pure: outcomes and clock readings in, verdicts out."""

from __future__ import annotations

from collections import deque


class Breaker:
    """Opens when a full window of outcomes is bad by at least `share`; one good outcome closes it and starts anew."""

    def __init__(self, window: int, share: float) -> None:
        self._recent: deque[bool] = deque(maxlen=window)
        self._limit = share * window
        self._bad = 0
        self.is_open = False

    def observe(self, bad: bool) -> None:
        if self.is_open:
            if not bad:
                self._recent.clear()
                self._bad = 0
                self.is_open = False
            return
        recent = self._recent
        if len(recent) == recent.maxlen:
            self._bad -= recent[0]
        recent.append(bad)
        self._bad += bad
        self.is_open = len(recent) == recent.maxlen and self._bad >= self._limit


class HostBreakers:
    """A breaker for each host media come from. While one is open, an input in `pause_s` tries the host; others wait."""

    WINDOW = 20
    SHARE = 0.8
    HOSTS = 1000  # remembered at most: a host is named by an event, and so by anyone

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._breakers: dict[str, Breaker] = {}
        self._next_probe: dict[str, float] = {}

    @property
    def watching(self) -> bool:
        """Whether any host has failed of late: until then nobody needs to ask which host an input is of."""
        return bool(self._breakers)

    @property
    def any_open(self) -> bool:
        return bool(self._next_probe)

    def is_open(self, host: str) -> bool:
        return host in self._next_probe

    def observe(self, host: str, failed: bool, now: float) -> None:
        breaker = self._breakers.get(host)
        if breaker is None:
            if not failed or len(self._breakers) >= self.HOSTS:
                return
            breaker = self._breakers[host] = Breaker(self.WINDOW, self.SHARE)
        breaker.observe(failed)
        if breaker.is_open:
            self._next_probe.setdefault(host, now + self._pause_s)
        else:
            self._next_probe.pop(host, None)

    def admits(self, host: str, now: float) -> bool:
        """Whether an input of this host may be fetched now; saying yes for an open host takes its probe."""
        due = self._next_probe.get(host)
        if due is None:
            return True
        if now < due:
            return False
        self._next_probe[host] = now + self._pause_s
        return True
