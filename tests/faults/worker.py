"""`python -m tests.faults.worker JOB`: the job as it is served, with its boundaries wired to a SIGKILL."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from stream import boundaries
from stream.cli.main import run


def die_at(boundary: str, nth: int) -> None:
    """From now on the process kills itself the nth time it reaches `boundary`."""
    seen = 0

    def reached(name: str) -> None:
        nonlocal seen
        if name == boundary:
            seen += 1
            if seen == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    boundaries.reached = reached


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("--kill-at")
    parser.add_argument("--nth", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.kill_at:
        die_at(chosen.kill_at, chosen.nth)
    return run(["serve", chosen.job])


if __name__ == "__main__":
    sys.exit(main())
