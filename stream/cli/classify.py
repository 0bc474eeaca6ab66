"""`reelsort classify FILE…`: label files here and now, without Kafka and without a database."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.bundle import Bundle, default_bundle
from models.decision.types import Route
from schemas.errors import ExitCode, UserError
from schemas.manifest import ManifestRow, read_manifest
from schemas.taxonomy import Level1
from stream.classify.analyzer import open_analyzer
from stream.classify.files import Failed, Labelled, LocalVideo, classify_files
from stream.cli.options import Format, FormatOption
from stream.publish import find_videos
from stream.settings import Settings, load_settings

_ROUTES = {
    Route.ACCEPT: "[green]accept[/green]",
    Route.ACCEPT_LEVEL1: "[yellow]level 1 only[/yellow]",
    Route.REVIEW: "[magenta]review[/magenta]",
}
_CLOSE_S = 5.0


def register(app: typer.Typer) -> None:
    app.command("classify")(_classify)


def _classify(
    files: Annotated[list[Path] | None, typer.Argument(help="mp4, mov, webm or mkv files, or folders of them.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="The model bundle's folder.")] = None,
    title: Annotated[str | None, typer.Option(help="The video's title; without, the file's name.")] = None,
    ocr: Annotated[list[str] | None, typer.Option(help="Text seen in the video; may be given again.")] = None,
    asr: Annotated[str, typer.Option(help="Text spoken in the video.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be given again.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="A JSONL manifest that knows the words of the files; alone: all its videos.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> int:
    """Label videos of this machine: categories, confidence, route, reasons, and the frames the model saw."""
    videos = _videos(files or [], manifest, title=title, ocr=ocr or [], asr=asr, tags=tag or [])
    settings = _local(load_settings())
    loaded = Bundle.load(bundle or settings.inference.bundle or default_bundle())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("choosing a runtime", total=len(videos))
        analyzer = open_analyzer(settings, loaded)
        try:
            progress.update(bar, description="classifying")
            outcomes = classify_files(videos, loaded, analyzer, on_done=lambda: progress.advance(bar))
        finally:
            analyzer.close(_CLOSE_S)
    described = [_describe(outcome, loaded) for outcome in outcomes]
    failed = sum(isinstance(outcome, Failed) for outcome in outcomes)
    if output is Format.JSON:
        report = {"model_id": loaded.model_id, "model": loaded.manifest.name, "files": described, "failed": failed}
        typer.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    else:
        _show(Console(highlight=False), described)
    return ExitCode.BAD_INPUT if failed else ExitCode.OK


def _local(settings: Settings) -> Settings:
    """The files were named by the person who runs this: no root confines them."""
    return settings.model_copy(update={"media": settings.media.model_copy(update={"file_root": Path("/")})})


# --- which videos -------------------------------------------------------------------------------------------------


def _videos(
    paths: list[Path], manifest: Path | None, *, title: str | None, ocr: list[str], asr: str, tags: list[str]
) -> list[LocalVideo]:
    """Raises UserError where nothing is named, a path is not there, or words are given for several videos at once."""
    known = {}
    if manifest:
        root = manifest.parent.resolve()
        rows = [row for row in read_manifest(manifest) if row.path]  # the others are words alone
        if not rows:
            raise UserError(f"no row of {manifest} has a path", "name a manifest of videos")
        known = {(root / row.path).resolve(): LocalVideo(row, root) for row in rows}
    if not paths and not known:
        raise UserError("no file was named", "name video files or folders, or a manifest with --manifest")
    videos = list(known.values()) if not paths else []
    for path in paths:
        found = [LocalVideo(row, path.resolve()) for row in find_videos(path)] if path.is_dir() else [_video(path)]
        videos += [known.get((video.root / video.row.path).resolve(), video) for video in found]
    if title is None and not (ocr or asr or tags):
        return videos
    if len(videos) != 1:
        raise UserError(f"one title cannot describe {len(videos)} videos", "name one file, or use --manifest")
    words = {"ocr": tuple(ocr), "asr": asr, "tags": tuple(tags)} | ({} if title is None else {"title": title})
    row = videos[0].row
    return [LocalVideo(ManifestRow.model_validate(row.model_dump() | words), videos[0].root)]


def _video(path: Path) -> LocalVideo:
    if not path.exists():
        raise UserError(f"there is no file {path}", "name files or folders that are there")
    real = path.resolve()
    row = ManifestRow(
        video_id=f"file-{hashlib.sha256(bytes(real)).hexdigest()[:20]}",
        author_id="local",
        path=real.name,
        split="unlabelled",
        published_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        title=path.stem.encode(errors="replace").decode(),
    )
    return LocalVideo(row, real.parent)


# --- what is said of them -----------------------------------------------------------------------------------------


def _describe(outcome: Labelled | Failed, bundle: Bundle) -> dict[str, Any]:
    row = outcome.video.row
    head = {"file": str(outcome.video.root / row.path), "video_id": row.video_id, "title": row.title}
    if isinstance(outcome, Failed):
        return head | {"error": {"code": outcome.failure.code, "detail": outcome.failure.detail}}
    decision, level2 = outcome.decision, bundle.taxonomy.level2
    return head | {
        "route": decision.route.value,
        "level1": _category(bundle.taxonomy.level1[decision.level1], decision.level1_probability),
        "level2": _category(level2[decision.level2], decision.level2_probability),
        "confidence": decision.confidence,
        "threshold": decision.threshold,
        "margin": decision.margin,
        "reasons": [reason.value for reason in decision.reasons],
        "top_k": [_category(level2[place], probability) for place, probability in decision.top_k],
        "frames_s": list(outcome.analysis.frame_times),
        "seconds": outcome.analysis.timings,
    }


def _category(category: Level1, probability: float) -> dict[str, Any]:
    return {"id": category.id, "zh": category.zh, "en": category.en, "probability": probability}


def _show(console: Console, files: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("file", "level 1 / level 2"):
        table.add_column(column, overflow="fold")
    table.add_column("conf.", justify="right")
    table.add_column("route", no_wrap=True)
    table.add_column("reasons")
    table.add_column("ms", justify="right")
    for file in files:
        name = escape(Path(file["file"]).name)
        if error := file.get("error"):
            table.add_row(name, f"[red]{escape(error['code'])}[/red] {escape(error['detail'])}", "", "failed", "", "")
            continue
        table.add_row(
            name,
            f"{_name(file['level1'])} / {_name(file['level2'])}",
            f"{file['confidence']:.2f}",
            _ROUTES[Route(file["route"])],
            ", ".join(file["reasons"]),
            f"{1000 * sum(file['seconds'].values()):.0f}",
        )
    console.print(table)
    if len(files) == 1 and "error" not in files[0]:
        _show_details(console, files[0])


def _show_details(console: Console, file: dict[str, Any]) -> None:
    """One video: the runners-up with bars, the frames, the time of each stage."""
    console.print()
    for category in file["top_k"]:
        bar = "█" * round(30 * category["probability"])
        console.print(f"  {category['probability']:.3f} [cyan]{bar:<30}[/cyan] {_name(category)}")
    console.print(f"\n  frames at {', '.join(f'{second:.2f}' for second in file['frames_s'])} s")
    stages = ", ".join(f"{stage} {1000 * seconds:.1f}" for stage, seconds in file["seconds"].items())
    console.print(f"  milliseconds: {stages}")


def _name(category: dict[str, Any]) -> str:
    return escape(f"{category['zh']} {category['en']}")
