"""`up` in a process that kills itself at a given moment: python -m tests.deploy.killed_up MOMENT FOLDER."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from deploy.local import stack
from deploy.local.state import StackState, save_state

MOMENTS = (
    "while Kafka's storage is formatted",
    "while initdb runs",
    "after Kafka was started, before that is written down",
    "after Postgres was started, before that is written down",
    "when all runs, before the settings are written",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(condition: Callable[[], bool]) -> None:
    def watch() -> None:
        while not condition():
            time.sleep(0.001)
        die()

    threading.Thread(target=watch, daemon=True).start()


def die_at(moment: str, folder: Path) -> None:
    def save(path: Path, state: StackState) -> None:
        if (state.kafka if "Kafka" in moment else state.postgres).process is not None:
            die()
        save_state(path, state)

    def write(*_: object, **__: object) -> None:
        die()

    match MOMENTS.index(moment):
        case 0:
            die_once(lambda: any(folder.glob("kafka.new-*/data")))
        case 1:
            die_once(lambda: any(folder.glob("postgres.new-*/base")))
        case 2 | 3:
            stack.save_state = save
        case 4:
            stack.write_atomically = write


if __name__ == "__main__":
    at, where = sys.argv[1], Path(sys.argv[2])
    die_at(at, where)
    stack.up(where)
