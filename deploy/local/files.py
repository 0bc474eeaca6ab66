"""Files that two processes, or a process killed half-way, must not spoil."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.errors import StackError

NEW = ".new-"  # a folder being made carries this in its name until it is whole


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` as a whole: a reader, or the next run after a kill, sees the old text or the new."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def new_folder_beside(path: Path) -> Path:
    """An empty folder to fill and then rename to `path`: what is found under `path` itself is always whole."""
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{path.name}{NEW}"))


def remove_unfinished(path: Path) -> None:
    """Remove what a killed run left of making `path`."""
    for leftover in path.parent.glob(f"{path.name}{NEW}*"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def locked(path: Path, *, timeout_s: float, busy: str) -> Iterator[None]:
    """Hold the advisory lock `path`; the kernel drops it when its holder dies.

    Raises StackError(`busy`) when another process holds it for longer than `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _acquire(handle, path):
                yield
                return
        finally:
            os.close(handle)
        if time.monotonic() > deadline:
            raise StackError(busy, "wait for it to end, or stop it, then run this again")
        time.sleep(0.05)


def _acquire(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # its last holder may have deleted the file: a lock on a deleted file excludes nobody
    return path.exists() and os.fstat(handle).st_ino == path.stat().st_ino
