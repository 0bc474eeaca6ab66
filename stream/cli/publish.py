"""`reelsort publish PATH`: events from a JSONL manifest or a folder of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.manifest import read_manifest
from stream.cli.options import Format, FormatOption
from stream.publish import find_videos, publish, require_files
from stream.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command("publish")(_publish)


def _publish(
    path: Annotated[Path, typer.Argument(help="A JSONL manifest, or a folder of mp4, mov, webm and mkv files.")],
    rate: Annotated[float | None, typer.Option(min=0.001, help="Videos a second; as fast as it goes without.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Publish the first so many.")] = None,
    media_root: Annotated[Path | None, typer.Option(help="What the manifest's paths start from; its folder.")] = None,
    uri_prefix: Annotated[
        str | None, typer.Option(help="Put this before each path instead of file://, as in https://cdn.example/v.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Publish videos as the upload service would. Publishing the same ones again changes nothing."""
    folder = path.is_dir()
    rows = (find_videos(path) if folder else read_manifest(path))[:limit]
    root = (media_root or (path if folder else path.parent)).resolve()
    if uri_prefix is None:
        require_files(rows, root)
    settings = load_settings()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if uri_prefix is None and not _readable(root, settings.media.file_root):
        allowed = settings.media.file_root or "no folder"
        console.print(
            f"[yellow]note:[/yellow] with these settings, serve reads files below {escape(str(allowed))} alone; to "
            f"have these videos labelled, start it with REELSORT_MEDIA__FILE_ROOT={escape(str(root))}"
        )
    columns = (TextColumn("publishing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("publishing", total=len(rows))
        published = publish(
            settings, rows, root, uri_prefix=uri_prefix, rate=rate, on_send=lambda _: progress.advance(bar)
        )
    if output is Format.JSON:
        typer.echo(orjson.dumps({"published": published.events, "seconds": round(published.seconds, 3)}))
    else:
        typer.echo(f"published {published.events} videos in {published.seconds:.1f} s")


def _readable(folder: Path, file_root: Path | None) -> bool:
    return file_root is not None and folder.is_relative_to(file_root.resolve())
