"""What a server's log says about why it died."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from deploy.local.errors import StackError

_PORT_TAKEN = re.compile(r"address already in use|could not bind", re.IGNORECASE)
_NO_SPACE = re.compile(r"no space left on device", re.IGNORECASE)
_NO_MEMORY = re.compile(
    r"could not reserve enough space|insufficient memory|OutOfMemoryError|could not map anonymous shared memory"
    r"|cannot allocate memory",
    re.IGNORECASE,
)


_EXCEPTION = re.compile(r"(?:Caused by: )?[\w.$]+(?:Exception|Error)\b.*")


class PortTaken(StackError):
    """Somebody else took the port between its choice and the server's start: another one will do."""


class LogReader:
    """Reads what is added to log files from now on."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._from = [file.stat().st_size if file.exists() else 0 for file in files]

    def added(self) -> list[str]:
        lines: list[str] = []
        for file, start in zip(self._files, self._from, strict=True):
            if file.exists():
                text = file.read_bytes()
                lines += text[start if len(text) >= start else 0 :].decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]

    def failure(self, name: str, exit_code: int | None, fatal: re.Pattern[str]) -> StackError:
        """The error to raise for a server that died while starting."""
        lines = self.added()
        text = "\n".join(lines)
        named = self._files[0]
        if _PORT_TAKEN.search(text):
            return PortTaken(f"{name}'s port was taken while it started", "run up again")
        if _NO_SPACE.search(text):
            return StackError(
                f"{name} stopped: the disk that holds {named.parent} is full", "free some space, then run up again"
            )
        if exit_code == -signal.SIGKILL:
            return StackError(
                f"{name} was killed while starting; most often it is the kernel that does so, for want of memory",
                "free about 1 GB of memory, then run up again",
            )
        if _NO_MEMORY.search(text):
            return StackError(
                f"{name} stopped while starting: there was not enough memory for it",
                "free about 1 GB of memory, then run up again",
            )
        said = _cause(lines, fatal)
        return StackError(
            f"{name} stopped while starting: {said[:300]}", f"read {named}; mend the cause, then run up again"
        )


def _cause(lines: Sequence[str], fatal: re.Pattern[str]) -> str:
    """The last fatal line; where exceptions follow it, the innermost, which names the reason."""
    at = next((number for number in range(len(lines) - 1, -1, -1) if fatal.search(lines[number])), None)
    if at is None:
        return lines[-1] if lines else "it said nothing"
    exceptions = [line.removeprefix("Caused by: ") for line in lines[at + 1 :] if _EXCEPTION.fullmatch(line)]
    return exceptions[-1] if exceptions else lines[at]
