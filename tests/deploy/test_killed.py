"""`up` killed with SIGKILL wherever it leaves something behind: the next `up` mends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from deploy.local.stack import up
from tests.deploy import killed_up
from tests.deploy.conftest import processes_of
from tests.support.kafka import create, produce, read_all

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("moment", killed_up.MOMENTS)
def test_up_after_a_kill(folder: Path, moment: str) -> None:
    killed = subprocess.run([sys.executable, "-m", killed_up.__name__, moment, str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL, "it was to be killed"

    info = up(folder)

    create(info.bootstrap, ["t"], partitions=1)
    produce(info.bootstrap, "t", [(b"k", b"v")])
    assert len(read_all(info.bootstrap, "t")) == 1
    with psycopg.connect(info.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not list(folder.glob("*.new-*")), "half-made folders are left"
    assert len(processes_of(folder)) == 2, "a server runs twice, or a tool of the killed run goes on"
