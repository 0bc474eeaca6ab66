"""`reelsort up` and `reelsort down`: the local Kafka and Postgres."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import platformdirs
import typer
from rich.console import Console

from deploy.local.stack import down, up
from deploy.local.state import ServerInfo, StackInfo
from stream.cli.options import Format, FormatOption

DEFAULT_FOLDER = platformdirs.user_data_path("reelsort") / "stack"

_Folder = Annotated[Path, typer.Option("--folder", help="Where the stack keeps its data, settings and logs.")]


def register(app: typer.Typer) -> None:
    app.command("up")(_up)
    app.command("down")(_down)


def describe(info: StackInfo) -> dict[str, Any]:
    """A stack as plain data."""
    return {
        "folder": str(info.folder),
        "bootstrap": info.bootstrap,
        "dsn": info.dsn,
        "settings": str(info.settings_file),
        "videos": str(info.videos),
        "psql": info.psql,
        "started": list(info.started),
        "opened": [str(folder) for folder in info.opened],
        "kafka": _server(info.kafka),
        "postgres": _server(info.postgres),
    }


def _up(folder: _Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE) -> None:
    """Start a local Kafka and Postgres, or say what runs already. Needs no Docker, no Java, no Postgres."""
    with Console(stderr=True).status("starting the local stack") as status:
        info = up(folder, progress=status.update)
    if output is Format.JSON:
        typer.echo(json.dumps(describe(info), indent=2))
        return
    typer.echo("the local stack runs" if info.started else "the local stack was running already")
    for name, value in (
        ("Kafka", f"{info.bootstrap}   {info.kafka.version}, pid {info.kafka.pid}, log {info.kafka.log}"),
        ("Postgres", f"{info.dsn}   {info.postgres.version}, pid {info.postgres.pid}, log {info.postgres.log}"),
        ("settings", str(info.settings_file)),
        ("videos", f"{info.videos}   file:// addresses are read under it"),
        ("psql", info.psql),
    ):
        typer.echo(f"  {name:<10}{value}")
    for opened in info.opened:
        typer.echo(f"  note: other users may now pass through {opened} (o+x): Postgres refuses root, it runs as nobody")
    typer.echo("next:")
    typer.echo(f"  export REELSORT_CONFIG={info.settings_file}")
    typer.echo("  reelsort db upgrade && reelsort topics create && reelsort serve all")
    typer.echo(f"  reelsort down --folder {info.folder}")


def _down(
    folder: _Folder = DEFAULT_FOLDER,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the stack's data too.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Stop the local Kafka and Postgres. Nothing running is no error."""
    stopped = down(folder, delete=delete)
    if output is Format.JSON:
        typer.echo(json.dumps({"folder": str(folder), "stopped": list(stopped), "deleted": delete}))
        return
    typer.echo(f"stopped {' and '.join(stopped)}" if stopped else f"nothing was running in {folder}")
    if delete:
        typer.echo(f"deleted the data in {folder}")


def _server(server: ServerInfo) -> dict[str, Any]:
    return {"version": server.version, "pid": server.pid, "port": server.port, "log": str(server.log)}
