"""`reelsort demo`: watch videos become labels on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from deploy.local.stack import StackInfo
from schemas.errors import ExitCode
from stream.cli.options import Format, FormatOption
from stream.cli.progress import ended_in_order


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    count: Annotated[int, typer.Option(min=1, help="How many videos to make and publish.")] = 240,
    videos: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Your own files instead (mp4, mov, webm, mkv)."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave Kafka and Postgres up and say how to look around.")
    ] = False,
    folder: Annotated[Path | None, typer.Option(help="Where the stack lives (default: a temporary folder).")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the generated videos.")] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Also draw the newest labels and the summary into this file.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> int:
    """Kafka and Postgres up, videos published, every job run, a live table, and a summary that is checked.

    Exits 5 if a video was lost or doubled or any other promise was broken.
    """
    from stream.demo.display import Display, LiveDisplay, PlainDisplay, show_summary
    from stream.demo.picture import picture
    from stream.demo.run import DEMO_SEED, DemoOptions, run_demo

    as_json = output is Format.JSON
    console = Console(stderr=as_json, highlight=False)
    display: Display = LiveDisplay(console) if console.is_terminal else PlainDisplay(console, labels=not as_json)
    options = DemoOptions(
        count=count, seed=DEMO_SEED if seed is None else seed, videos=videos, folder=folder, keep=keep
    )
    with ended_in_order(), display:
        result = run_demo(options, display)
    if as_json:
        typer.echo(orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        show_summary(console, result.report, result.dead, result.evidence)
    if svg is not None:
        svg.write_text(picture(list(display.rows), result.report, result.evidence), encoding="utf-8")
    if result.kept:
        _say_how_to_look_around(Console(stderr=as_json, highlight=False, soft_wrap=True), result.folder, result.stack)
    return ExitCode.OK if result.holds else ExitCode.CHECK_FAILED


def _say_how_to_look_around(console: Console, folder: Path, info: StackInfo) -> None:
    console.print()
    console.print("the stack is still up:")
    console.print(f"  labels in Postgres   {info.psql}   (then: TABLE labels LIMIT 20;)")
    console.print(f"  Kafka                {info.bootstrap}  (video.labels.v1, video.review.v1, …)")
    console.print(f"  a label's story      reelsort --config {info.settings_file} explain VIDEO")
    console.print(f"  waits for people     reelsort --config {info.settings_file} review ls")
    console.print(f"  stop it              reelsort down --folder {folder}")
