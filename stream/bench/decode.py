"""`reelsort bench decode`: our decoding beside torchcodec and sequential PyAV, one thread each, in one run.

All choose the same moments of the same clips and give the same small pictures. They take turns on the same
libavcodec: the turns run in a process of their own, where torchcodec is shown the FFmpeg that PyAV brings. What counts
is processor time, and the best turn of each: other work on the machine only ever adds to it (the timeit module's
reasoning). The ratios within single turns are given beside it.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import av
import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from schemas.errors import ExitCode, UserError
from stream.bench import decode_turns
from stream.bench.decode_clips import BenchClip, standard_clips, write
from stream.cli.options import Format, FormatOption

NAME = "decode"


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    frames: Annotated[int, typer.Option(min=1, help="Pictures a clip.")] = 8,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of each clip.")] = 8.0,
    repeats: Annotated[int, typer.Option(min=1, help="Turns, after one to warm up.")] = 5,
    output: FormatOption = Format.TABLE,
) -> None:
    """Milliseconds a clip, and our speed as a multiple of the better peer's. torchcodec comes with the extra `dev`."""
    clips = standard_clips(seconds)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("clips", total=len(clips))
        result = run(clips, frames=frames, repeats=repeats, on_clip=lambda: progress.advance(bar))
    if output is Format.JSON:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        return
    console = Console(highlight=False)
    console.print(_table(result))
    console.print(_summary(result))


def run(
    clips: tuple[BenchClip, ...], *, frames: int, repeats: int, on_clip: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Every contender over every clip, at the size of a vision tower and at one where resizing hardly counts.

    Raises UserError where the turns cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="reelsort-bench-") as folder, _peers_libraries() as environment:
        paths = [write(clip, Path(folder) / f"{number}.mp4") for number, clip in enumerate(clips)]
        measured = []
        for clip, turns in zip(clips, _turns(paths, frames, repeats, environment), strict=True):
            measured.append({"clip": asdict(clip) | {"name": clip.name}, **report(turns)})
            versions = turns["versions"]
            on_clip()
    return {
        "processor_threads": 1,
        "frames": frames,
        "turns": repeats,
        "versions": versions,
        "clips": measured,
        "ratio_to_best_peer": {
            "without_bframes": _mean_ratio(measured, lambda clip: clip["bframes"] == 0),
            "with_bframes": _mean_ratio(measured, lambda clip: clip["bframes"] > 0),
            "least": min(entry["decode_and_resize"]["ratio_to_best_peer"]["best"] for entry in measured),
        },
    }


def report(turns: dict[str, Any]) -> dict[str, Any]:
    """What the turns over one clip say. Pure.

    turns: {"pictures": {size: {contender: [{"cpu_s", "wall_s"}, …]}}, "same_pictures": {contender: bool}}.
    """
    sizes = turns["pictures"]
    return {
        name: _comparison(sizes[str(size)], turns["same_pictures"])
        for name, size in (("decode_and_resize", decode_turns.TOWER), ("decode", decode_turns.THUMBNAIL))
    }


@dataclass(frozen=True, slots=True)
class _Ratio:
    """A peer's processor time over ours. best: of the best turn of each; the others: of the ratios within a turn."""

    best: float
    median: float
    least: float
    most: float


def _comparison(measures: dict[str, list[dict[str, float]]], same: dict[str, bool]) -> dict[str, Any]:
    cpu = {name: [turn["cpu_s"] for turn in turns] for name, turns in measures.items()}
    ours = cpu[decode_turns.OURS]
    peers = {name: min(times) for name, times in cpu.items() if name != decode_turns.OURS}
    best = min(peers, key=peers.__getitem__)
    ratios = [peer / own for peer, own in zip(cpu[best], ours, strict=True)]
    ratio = _Ratio(peers[best] / min(ours), statistics.median(ratios), min(ratios), max(ratios))
    return {
        "best_peer": best,
        "ratio_to_best_peer": asdict(ratio),
        "contenders": [
            {
                "name": name,
                "cpu_ms": min(cpu[name]) * 1e3,
                "wall_ms": min(turn["wall_s"] for turn in turns) * 1e3,
                "same_pictures": same[name],
            }
            for name, turns in measures.items()
        ],
    }


def _mean_ratio(measured: list[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> float:
    found = [e["decode_and_resize"]["ratio_to_best_peer"]["best"] for e in measured if wanted(e["clip"])]
    return statistics.geometric_mean(found)


def _turns(paths: list[Path], frames: int, repeats: int, environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Run the turns in a process of their own; what it says of each clip, as it says it."""
    arguments = [sys.executable, "-m", "stream.bench.decode_turns", str(frames), str(repeats), *map(str, paths)]
    with tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(
            arguments, env=os.environ | environment, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        if process.returncode:
            complaints.seek(0)
            last = (complaints.read().strip().splitlines() or ["it said nothing"])[-1]
            raise UserError(f"the decoders could not be timed: {last}", code=ExitCode.CHECK_FAILED)


@contextmanager
def _peers_libraries() -> Iterator[dict[str, str]]:
    """An environment in which torchcodec finds the FFmpeg in PyAV's wheel, under the names it asks for."""
    bundled = Path(av.__file__).parent.parent / "av.libs"
    with tempfile.TemporaryDirectory(prefix="reelsort-ffmpeg-") as folder:
        for library in bundled.glob("lib*.so.*"):
            if found := re.match(r"(lib(?:av|sw)\w+)-[0-9a-f]+\.so\.(\d+)", library.name):
                (Path(folder) / f"{found[1]}.so.{found[2]}").symlink_to(library)
        earlier = os.environ.get("LD_LIBRARY_PATH")
        yield {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, (folder, str(bundled), earlier)))}


def _table(result: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("clip", "decoder"):
        table.add_column(heading, no_wrap=True)
    for heading in ("CPU ms", "wall ms", "at 16 px", "same"):
        table.add_column(heading, justify="right")
    for entry in result["clips"]:
        bare = {row["name"]: row["cpu_ms"] for row in entry["decode"]["contenders"]}
        for number, row in enumerate(entry["decode_and_resize"]["contenders"]):
            table.add_row(
                entry["clip"]["name"] if number == 0 else "",
                row["name"].replace("torchcodec approximate", "torchcodec approx."),
                f"{row['cpu_ms']:.1f}",
                f"{row['wall_ms']:.1f}",
                f"{bare[row['name']]:.1f}",
                "yes" if row["same_pictures"] else "no",
            )
        ratio = entry["decode_and_resize"]["ratio_to_best_peer"]
        table.add_row("", f"× the better: {ratio['best']:.2f} (turns {ratio['least']:.2f}-{ratio['most']:.2f})")
    return table


def _summary(result: dict[str, Any]) -> str:
    ratio = result["ratio_to_best_peer"]
    return (
        f"× the better peer: {ratio['without_bframes']:.2f} without B-frames, {ratio['with_bframes']:.2f} with, "
        f"{ratio['least']:.2f} at least · {', '.join(f'{k} {v}' for k, v in result['versions'].items())}"
    )
