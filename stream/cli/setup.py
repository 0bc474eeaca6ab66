"""The explicit steps before serving: `topics create`, `db upgrade`, `config show`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from stream.cli.options import Format, FormatOption
from stream.kafka import create_topics, topic_names
from stream.settings import load_settings, redacted


def register(app: typer.Typer) -> None:
    for name, command, action, help_text in (
        ("topics", "create", _create_topics, "The Kafka topics."),
        ("db", "upgrade", _upgrade, "The database schema."),
        ("config", "show", _show_config, "The settings."),
    ):
        group = typer.Typer(no_args_is_help=True, help=help_text)
        group.callback()(lambda: None)  # keeps a group of one command a group
        group.command(command)(action)
        app.add_typer(group, name=name)


def _create_topics(output: FormatOption = Format.TABLE) -> None:
    """Create the topics that are missing; the others are left as they are."""
    settings = load_settings()
    created = create_topics(settings)
    if output is Format.JSON:
        typer.echo(json.dumps({"created": list(created)}))
        return
    for name in created:
        typer.echo(f"created {name}")
    if not created:
        typer.echo(f"nothing to do: all topics exist at {settings.kafka.bootstrap}")


def _upgrade(
    to: Annotated[str, typer.Option("--to", help="A revision; default: the newest.")] = "head",
) -> None:
    """Bring the database to the schema this version works with."""
    from schemas import database  # Alembic takes half a second to import, which no other command should wait for

    dsn = load_settings().database.dsn.get_secret_value()
    before = database.current(dsn)
    database.upgrade(dsn, to)
    after = database.current(dsn)
    typer.echo(f"the database was at {before or 'nothing'} and is at {after}" if before != after else f"at {after}")


def _show_config(output: FormatOption = Format.TABLE) -> None:
    """Print the settings in force, secrets starred out."""
    settings = load_settings()
    topic_names(settings)  # a wrong mapping is found here rather than at the first start
    plain = redacted(settings)
    if output is Format.JSON:
        typer.echo(json.dumps(plain, indent=2))
        return
    for name, value in _flat(plain):
        typer.echo(f"{name} = {json.dumps(value, ensure_ascii=False)}")


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found
