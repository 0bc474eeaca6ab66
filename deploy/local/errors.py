"""The one error of the local stack. It stands alone: the command shows it like every other user error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StackError(Exception):
    """One sentence on what happened, one on how to mend it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses under `folder` into a StackError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StackError(
                f"the disk that holds {folder} is full", "free some space, or give another --folder"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StackError(
                f"{error.filename or folder} cannot be written: {error.strerror}",
                "give a --folder that you may write to",
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StackError(f"{error.filename or folder} is not a folder", "give another --folder") from error
        if error.errno == errno.ENAMETOOLONG:
            raise StackError(f"the path {folder} is too long", "give a --folder with a shorter path") from error
        raise
