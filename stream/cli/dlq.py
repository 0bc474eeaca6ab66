"""`reelsort dlq`: dead letters, listed, shown and sent round again."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream.cli.options import Format, FormatOption
from stream.dead_letters import Opened, Which, counts, find, open_letter, redrivable, redrive
from stream.kafka import topic_names
from stream.settings import load_settings
from stream.store.session import connect_or_explain

NAME = "dlq"
app = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be handled, and why.")

CodeOption = Annotated[str | None, typer.Option(help="Only those with this error code.")]
IdOption = Annotated[list[int] | None, typer.Option("--id", help="Only this letter; may be given many times.")]


@app.command("ls")
def _ls(
    code: CodeOption = None,
    redriven: Annotated[bool, typer.Option(help="Show those sent round again, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    output: FormatOption = Format.TABLE,
) -> None:
    """List dead letters, newest first."""
    which = Which(code=code, redriven_too=redriven)
    with connect_or_explain(load_settings().database, "dlq") as connection:
        letters, totals = find(connection, which, limit), counts(connection, which)
    if output is Format.JSON:
        typer.echo(orjson.dumps({"codes": totals, "letters": [asdict(letter) for letter in letters]}))
        return
    table = Table("id", "video", "rev", "code", "detail", "tries", "died", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # an id or a path that is cut short cannot be copied
    for letter in letters:
        table.add_row(
            str(letter.id),
            escape(letter.video_id or "?"),
            "" if letter.revision is None else str(letter.revision),
            letter.code,
            escape(letter.detail[:80]),
            str(letter.attempts),
            f"{letter.died_at:%Y-%m-%d %H:%M:%S}",
        )
    console = Console()
    console.print(table)
    console.print(", ".join(f"{code}: {count}" for code, count in totals.items()) or "no dead letters")


@app.command("show")
def _show(letter_id: Annotated[int, typer.Argument()], output: FormatOption = Format.TABLE) -> None:
    """One dead letter: the error, the headers, and the record as it came."""
    with connect_or_explain(load_settings().database, "dlq") as connection:
        opened = open_letter(connection, letter_id)
    if output is Format.JSON:
        typer.echo(orjson.dumps(_plain(opened)))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in asdict(opened.letter).items():
        console.print(f"[bold]{name}[/bold] {escape(str(value))}")
    for header, text in opened.headers.items():
        console.print(f"[dim]{escape(header)}[/dim] {escape(str(text))}")
    console.print(escape("(no value)" if opened.value is None else opened.value.decode("utf-8", "backslashreplace")))


@app.command("redrive")
def _redrive(
    code: CodeOption = None,
    ids: IdOption = None,
    write: Annotated[bool, typer.Option(help="Do it; without this, only say what would be done.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Send dead letters round again: videos to the retry topic, what the rescore job refused to its own. Dry unless
    --write."""
    which = Which(code=code, ids=ids or ())
    settings = load_settings()
    names = topic_names(settings)
    with connect_or_explain(settings.database, "dlq") as connection:
        sent = redrive(connection, which, names) if write else None
        topics = redrivable(connection, which, names) if sent is None else sent.topics
    meant = sum(topics.values())
    if output is Format.JSON:
        report = {"written": write, "letters": meant, "topics": topics, "ids": [] if sent is None else sent.ids}
        typer.echo(orjson.dumps(report))
        return
    where = ", ".join(f"{count} to {names.actual(topic)}" for topic, count in sorted(topics.items()))
    to = f": {where}" if where else ""
    if write:
        typer.echo(f"{meant} dead letters are on their way{to}")
    else:
        typer.echo(f"{meant} dead letters would be sent{to}; add --write to do it")


def _plain(opened: Opened) -> dict[str, Any]:
    """Bytes as text where they are, else as base64."""
    plain: dict[str, Any] = asdict(opened.letter) | {"headers": opened.headers}
    for name, value in (("key", opened.key), ("value", opened.value)):
        try:
            plain[name] = None if value is None else value.decode()
        except UnicodeDecodeError:
            assert value is not None
            plain[f"{name}_base64"] = base64.b64encode(value).decode()
    return plain
