"""What commands that compute for long have in common: bars, an end in good order, and what must be installed."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from schemas.errors import UserError


@contextmanager
def ended_in_order() -> Iterator[None]:
    """A closed terminal or a SIGTERM ends a command as Ctrl-C does: it cleans up. What nohup ignores stays ignored."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    heeded = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)


@contextmanager
def shown() -> Iterator[Progress]:
    """Bars on standard error, gone when they are done. ended_in_order() while they are there."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with ended_in_order(), Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


def bar(progress: Progress, description: str) -> Callable[[int, int], None]:
    """A bar that appears with the first step."""
    task: list[Any] = []

    def show(done: int, total: int) -> None:
        if not task or progress.tasks[task[0]].finished:
            task[:] = [progress.add_task(description, total=total)]
        progress.update(task[0], completed=done, total=total)

    return show


def need_torch() -> None:
    """Raise UserError unless what training and export need is installed."""
    for package in ("torch", "onnx", "onnxscript", "safetensors"):
        need(package)


def need(package: str) -> None:
    """Raise UserError unless a package of the extra `train` is installed."""
    if importlib.util.find_spec(package) is None:
        raise UserError(f"this command needs {package}, which is not installed", "pip install 'reelsort[train]'")
