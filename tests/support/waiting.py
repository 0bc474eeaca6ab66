"""Waiting for a condition instead of sleeping for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = 30.0, *, interval_s: float = 0.02, what: str = "") -> T:
    """Poll until `condition` returns something truthy, and return that. AssertionError past the deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what or condition}"
        time.sleep(interval_s)
    return value
