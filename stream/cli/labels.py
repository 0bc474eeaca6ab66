"""`reelsort labels`: what is in force, what was, and what was at an instant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.errors import ExitCode, UserError
from stream.cli.options import Format, FormatOption
from stream.cli.records import opened, storable
from stream.settings import load_settings
from stream.store.history import Row, changes_of, label_as_of, labels_of
from stream.words import instant, visible

NAME = "labels"
app = typer.Typer(no_args_is_help=True, help="Labels as readers see them.")

VideoArgument = Annotated[str, typer.Argument(callback=storable, help="The video's id.")]


@app.command("get")
def _get(
    videos: Annotated[list[str], typer.Argument(help="Ids of videos.")], output: FormatOption = Format.TABLE
) -> int:
    """The labels in force. Exits 3 where a video has none."""
    for video in videos:
        storable(video)
    with opened(load_settings(), "labels") as connection:
        found = labels_of(connection, videos)
    held = {row["video_id"] for row in found}
    missing = [video for video in dict.fromkeys(videos) if video not in held]
    if output is Format.JSON:
        typer.echo(orjson.dumps({"labels": found, "missing": missing}))
    else:
        _show(found, ("video_id", "revision", "status", "level1", "level2", "confidence", "source", "decided_at"))
        for video in missing:
            typer.echo(f"{visible(video)} has no label; `reelsort explain` says what is known of it")
    return ExitCode.BAD_INPUT if missing else ExitCode.OK


@app.command("history")
def _history(video: VideoArgument, output: FormatOption = Format.TABLE) -> None:
    """Every label that was in force, the oldest first."""
    with opened(load_settings(), "labels") as connection:
        changes = changes_of(connection, video)
    if not changes:
        raise _no_label(video)
    if output is Format.JSON:
        typer.echo(orjson.dumps({"video_id": video, "labels": changes}))
    else:
        _show(
            changes,
            (
                "label_revision",
                "decided_at",
                "trigger",
                "source",
                "status",
                "level1",
                "level2",
                "confidence",
                "reasons",
            ),
        )


@app.command("as-of")
def _as_of(
    video: VideoArgument,
    time: Annotated[
        str, typer.Argument(help="ISO 8601, such as 2026-11-01T08:00:00+08:00; UTC where no zone is said.")
    ],
    output: FormatOption = Format.TABLE,
) -> None:
    """The label that was in force at an instant."""
    moment = _moment(time)
    with opened(load_settings(), "labels") as connection:
        found = label_as_of(connection, video, moment)
    if found is None:
        raise UserError(
            f"video {visible(video)} had no label at {moment.isoformat()}", "`reelsort labels history` shows them all"
        )
    if output is Format.JSON:
        typer.echo(orjson.dumps(found))
    else:
        _show([found], ("video_id", "revision", "status", "level1", "level2", "confidence", "source", "decided_at"))


def _moment(text: str) -> datetime:
    """Raises UserError for what is no instant, or one that Postgres does not hold."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{visible(text, 60)} is no instant", "write it as 2026-11-01T08:00:00+08:00") from error


def _no_label(video: str) -> UserError:
    return UserError(f"video {visible(video)} has no label", "`reelsort explain` says what is known of it")


def _show(rows: Sequence[Row], columns: Sequence[str]) -> None:
    if not rows:
        return
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    Console(highlight=False).print(table)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return instant(value)
        case float():
            return f"{value:.3f}"
        case list():
            return escape(visible(", ".join(map(str, value))))
        case _:
            return escape(visible(str(value)))
