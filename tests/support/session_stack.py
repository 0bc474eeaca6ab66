"""The one local stack of a test session, shared by the session's processes and removed at its end.

pytest's first process names the folder and removes it; workers (pytest-xdist) inherit the name by environment. up() is
idempotent and holds the folder's lock, so that whoever needs the stack first starts it. A session that was killed
leaves its folder behind: the next session finds that its owner is gone, stops the servers and removes it.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.local import stack
from deploy.local.state import StackInfo

_FOLDER = "REELSORT_TEST_STACK"
_PREFIX = "reelsort-tests-"


def begin() -> None:
    """In the first process of a session."""
    _remove_orphans()
    mine = psutil.Process()
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix=f"{_PREFIX}{mine.pid}-{int(mine.create_time())}-")


def end() -> None:
    """In the first process of a session, after all others."""
    _remove(Path(os.environ.pop(_FOLDER)))


def running() -> StackInfo:
    """The session's stack, started on first use."""
    return stack.up(Path(os.environ[_FOLDER]))


def _remove(folder: Path) -> None:
    stack.down(folder, delete=True)
    with suppress(FileNotFoundError):
        folder.rmdir()


def _remove_orphans() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid, started, _ = folder.name.removeprefix(_PREFIX).split("-", 2)
        if not _is_running(int(pid), int(started)):
            _remove(folder)


def _is_running(pid: int, started: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - started) < 3  # the clock may have been set since
    return False
