"""The one error a person is meant to read: what happened, where, how to mend it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command's exit status means (docs/operator.md lists them)."""

    OK = 0
    INTERNAL = 1  # a defect: the log file named in the message holds the traceback
    USAGE = 2  # the command line itself
    BAD_INPUT = 3  # a file, setting or bundle is not what it should be
    UNREACHABLE = 4  # Kafka, Postgres or a host did not answer
    CHECK_FAILED = 5  # the command ran and what it checked does not hold
    INTERRUPTED = 130


class UserError(Exception):
    """Raised wherever input or surroundings are at fault; shown as two lines, never as a traceback."""

    def __init__(self, message: str, remedy: str = "", code: ExitCode = ExitCode.BAD_INPUT) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
