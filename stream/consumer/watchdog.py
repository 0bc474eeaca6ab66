"""Calls into librdkafka that may never return: a guard ends the process, and the next one takes over."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_STUCK = 70  # EX_SOFTWARE: an orchestrator restarts us
EXIT_LEFT = 0
_log = logging.getLogger(__name__)


def end_process(what: str, seconds: float) -> None:
    """With an exit code that asks for a restart, and no clean-up.

    A thread that hangs inside C would hang the interpreter's own exit as well.
    """
    _log.critical("%s did not return within %.1f s: ending this process, uncommitted records come again", what, seconds)
    sys.stderr.flush()
    os._exit(EXIT_STUCK)


def leave_without_goodbye(what: str, seconds: float) -> None:
    """For a call after which nothing is left to do: all is committed, and the group finds out by itself."""
    _log.warning("%s did not return within %.1f s: nothing is left to do, ending this process", what, seconds)
    sys.stderr.flush()
    os._exit(EXIT_LEFT)


@contextmanager
def guard(what: str, seconds: float, on_stuck: Callable[[str, float], None] = end_process) -> Iterator[None]:
    """End the process if the body takes longer than `seconds`.

    For librdkafka calls whose own timeout does not hold when a coordinator goes away (librdkafka#5456, #5511).
    """
    timer = threading.Timer(seconds, on_stuck, (what, seconds))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
