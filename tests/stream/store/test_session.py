"""What a person is told where there is no database."""

import socket

import pytest
from pydantic import SecretStr

from schemas.errors import ExitCode, UserError
from stream.settings import DatabaseSettings
from stream.store.session import connect_or_explain


def explained(dsn: str) -> UserError:
    with pytest.raises(UserError) as raised:
        connect_or_explain(DatabaseSettings(dsn=SecretStr(dsn)), "test")
    return raised.value


def test_a_server_that_does_not_answer_is_named_and_its_password_is_not() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # never listens
        port = reserved.getsockname()[1]
        error = explained(f"postgresql://someone:hunter2@127.0.0.1:{port}/labels")
    assert error.code is ExitCode.UNREACHABLE
    assert "127.0.0.1" in error.message
    assert str(port) in error.message
    assert "hunter2" not in error.message + error.remedy


def test_nothing_of_a_dsn_that_cannot_be_read_is_quoted() -> None:
    error = explained("hunter2 garbage")
    assert error.code is ExitCode.BAD_INPUT
    assert "hunter2" not in error.message + error.remedy
