"""Stacks of a test's own, which it may break, and what the tests of the local stack look at."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.stack import down


def processes_of(folder: Path) -> list[list[str]]:
    """Command lines that name something under the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if any(part.startswith(f"{folder}/") for part in line):
            found.append(line)
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a stack. Whatever the test did to it, no process may be left behind."""
    folder = Path(tempfile.mkdtemp(prefix="reelsort-stack-")).resolve()
    try:
        yield folder
    finally:
        down(folder, delete=True)
        shutil.rmtree(folder, ignore_errors=True)
    assert processes_of(folder) == []
