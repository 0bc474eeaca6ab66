"""A call that never returns ends the process; one that returns in time is left alone."""

from __future__ import annotations

import subprocess
import sys
import threading

from stream.consumer.watchdog import EXIT_STUCK, guard


def test_a_stuck_call_ends_the_process_and_says_which() -> None:
    stuck = (
        "import threading; from stream.consumer.watchdog import guard\n"
        "with guard('the offset commit', 0.2): threading.Event().wait()"
    )
    ended = subprocess.run([sys.executable, "-c", stuck], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_STUCK
    assert "the offset commit did not return within 0.2 s" in ended.stderr


def test_a_stuck_farewell_is_no_failure() -> None:
    stuck = (
        "import threading; from stream.consumer.watchdog import guard, leave_without_goodbye\n"
        "with guard('leaving', 0.2, on_stuck=leave_without_goodbye): threading.Event().wait()"
    )
    ended = subprocess.run([sys.executable, "-c", stuck], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0
    assert "leaving did not return within 0.2 s" in ended.stderr


def test_a_call_that_returns_is_forgotten() -> None:
    told: list[str] = []
    with guard("a commit", 0.05, on_stuck=lambda what, _: told.append(what)):
        pass
    threading.Event().wait(0.2)
    assert told == []
