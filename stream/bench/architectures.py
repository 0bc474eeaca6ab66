"""`reelsort bench architectures`: every architecture trained on the generated set, several seeds, side by side.

Each training leaves a file: what an interrupted call finished is not done again.
"""

from __future__ import annotations

import io
import os
import signal
import statistics
import sys
from collections.abc import Sequence
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from models.synthetic.make import DatasetOptions, make_dataset
from schemas.errors import UserError
from schemas.manifest import Split
from stream.cli.options import Format, FormatOption
from stream.cli.progress import need, shown
from stream.serve import die_with

if TYPE_CHECKING:
    from models.training.ladder import Rung

NAME = "architectures"
PRESET = "tiny"
BASELINE = "legacy"
DATA_SEED = 7

Spread = tuple[float, float]  # mean, standard deviation over seeds


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    out: Annotated[Path, typer.Option(help="Where the dataset and each result are kept; a second call goes on.")],
    arch: Annotated[list[str] | None, typer.Option(help="Only these; repeat the option.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each.")] = 3,
    train: Annotated[int, typer.Option(min=1, help="Training videos.")] = 2500,
    test: Annotated[int, typer.Option(min=1, help="Test videos.")] = 1000,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of each preset's.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Trainings at once, one thread each.")] = 2,
    page: Annotated[Path | None, typer.Option(help="Write the table here, as Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the picture here, as SVG.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Accuracy of every architecture, of text and of frames alone, and whether it sees the order of frames."""
    for package in ("torch", "matplotlib"):
        need(package)
    from models.architectures import TRAIN, made_by, names
    from models.training.recipe import load_recipe

    chosen = tuple(arch or (name for name in names() if made_by(name) == TRAIN))
    for name in chosen:
        load_recipe(name, PRESET)  # one that cannot be trained is told before hours of work
    counts: dict[Split, int] = {"train": train, "validation": 100, "calibration": 0, "test": test, "unlabelled": 0}
    with shown() as progress:
        making = progress.add_task("making videos", total=sum(counts.values()))
        make_dataset(
            out / "data", DatasetOptions(DATA_SEED, counts), progress=lambda done: progress.advance(making, done)
        )
        rungs = _climb_all(out, chosen, seeds, epochs, processes, progress)
    result = report(rungs)
    if page:
        page.write_text(markdown(result), encoding="utf-8")
    if plot:
        plot.write_text(draw(result), encoding="utf-8")
    if output is Format.JSON:
        typer.echo(orjson.dumps(result | {"train": train, "test": test}, option=orjson.OPT_INDENT_2))
        return
    Console(highlight=False).print(table(result))


def _climb_all(
    out: Path, chosen: Sequence[str], seeds: int, epochs: int | None, processes: int, progress: Progress
) -> list[Rung]:
    from models.training.ladder import Rung

    results = out / f"results-{epochs or 'preset'}"
    results.mkdir(parents=True, exist_ok=True)
    wanted = {results / f"{name}-{seed}.json": (name, seed) for seed in range(1, seeds + 1) for name in chosen}
    waiting = [(path, *each) for path, each in wanted.items() if not path.exists()]
    bar = progress.add_task("training", total=len(wanted), completed=len(wanted) - len(waiting))
    running: dict[int, tuple[BaseProcess, Path]] = {}  # by sentinel
    context = get_context("spawn")
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                path, name, seed = waiting.pop(0)
                started = context.Process(target=_climb, args=(os.getpid(), path, name, seed, out / "data", epochs))
                started.start()
                running[started.sentinel] = started, path
            ended = connection.wait(list(running))
            for process, path in [running.pop(sentinel) for sentinel in list(running) if sentinel in ended]:
                process.join()
                if process.exitcode:
                    raise UserError(f"the training of {path.stem} ended with {process.exitcode}", "see what it said")
                rung = Rung.load(path)
                progress.advance(bar)
                progress.console.print(
                    f"{rung.architecture} seed {rung.seed}: level 2 {rung.level2['all']:.3f}, "
                    f"direction {rung.direction:.3f}, {rung.seconds:.0f} s"
                )
    finally:
        for left, _ in running.values():
            left.kill()
            left.join()
    return [Rung.load(path) for path in wanted]


def _climb(parent: int, path: Path, name: str, seed: int, data: Path, epochs: int | None) -> None:
    """One training, in a process of its own, which leaves its result at `path`."""
    from models.training.ladder import climb

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its trainings
    die_with(parent)
    try:
        climb(name, PRESET, data, seed=seed, epochs=epochs, threads=1).save(path)
    except UserError as error:
        typer.echo(f"error: {error.message}", err=True)
        sys.exit(error.code)


def report(rungs: Sequence[Rung]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, best first, and what the comparison was made to show."""
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(rung.architecture for rung in rungs):
        mine = [rung for rung in rungs if rung.architecture == name]
        rows.append(
            {
                "architecture": name,
                "seeds": len(mine),
                "parameters": mine[0].parameters,
                "level2": {view: _spread([rung.level2[view] for rung in mine]) for view in mine[0].level2},
                "macro_f1": _spread([rung.macro_f1 for rung in mine]),
                "mean_metric": _spread([rung.mean_metric for rung in mine]),
                "direction": _spread([rung.direction for rung in mine]),
                "seconds": statistics.mean(rung.seconds for rung in mine),
            }
        )
    rows.sort(key=lambda row: -row["level2"]["all"][0])
    baseline = next((row["level2"]["all"][0] for row in rows if row["architecture"] == BASELINE), None)
    for row in rows:
        row["above_baseline"] = None if baseline is None else row["level2"]["all"][0] - baseline
    return {"bench": NAME, "preset": PRESET, "baseline": BASELINE, "rows": rows}


def _spread(values: Sequence[float]) -> Spread:
    return statistics.mean(values), statistics.stdev(values)


def table(result: dict[str, Any]) -> Table:
    """What a person reads."""
    columns = Table(box=None, pad_edge=False)
    columns.add_column("architecture", no_wrap=True)
    for column in ("params", "level 2", "vs legacy", "text+frames", "text", "frames", "direction", "macro-F1", "s"):
        columns.add_column(column, justify="right")
    for row in result["rows"]:
        views = row["level2"]
        above = row["above_baseline"]
        columns.add_row(
            row["architecture"],
            f"{row['parameters'] / 1e6:.2f} M",
            _say(views["all"]),
            "" if above is None else f"{above:+.3f}",
            _say(views["text and frames"]),
            _say(views["text"]),
            _say(views["frames"]),
            _say(row["direction"]),
            _say(row["macro_f1"]),
            f"{row['seconds']:.0f}",
        )
    return columns


def markdown(result: dict[str, Any]) -> str:
    """The table for documents."""
    head = ["", "parameters", "level 2", f"against {BASELINE}", "text and frames", "text", "frames", "direction"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in result["rows"]:
        views, above = row["level2"], row["above_baseline"]
        lines.append(
            [
                f"`{row['architecture']}`",
                f"{row['parameters'] / 1e6:.2f} M",
                _say(views["all"]),
                "" if above is None else f"{above:+.3f}",
                *(_say(views[view]) for view in ("text and frames", "text", "frames")),
                _say(row["direction"]),
            ]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _say(spread: Spread) -> str:
    return f"{spread[0]:.3f} ± {spread[1]:.3f}"


def draw(result: dict[str, Any]) -> str:
    """Two panels of means with their standard deviations: level-2 accuracy by what is seen, and direction. As SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    rows = list(reversed(result["rows"]))
    places = range(len(rows))
    with mpl.rc_context({"svg.hashsalt": NAME, "font.size": 9}):
        figure, (left, right) = pyplot.subplots(1, 2, sharey=True, figsize=(9, 0.34 * len(rows) + 1.2))
        for view, marker in (("all", "o"), ("text and frames", "D"), ("text", "|"), ("frames", "x")):
            means, deviations = zip(*(row["level2"][view] for row in rows), strict=True)
            left.errorbar(means, places, xerr=deviations, fmt=marker, label=view, markersize=5, capsize=2)
        left.set_xlabel("level-2 accuracy")
        left.legend(fontsize=7, loc="lower right")
        means, deviations = zip(*(row["direction"] for row in rows), strict=True)
        right.errorbar(means, places, xerr=deviations, fmt="o", markersize=5, capsize=2)
        right.axvline(0.5, color="grey", linewidth=0.8, linestyle="dashed")
        right.set_xlabel("direction told from frames (0.5: order not seen)")
        left.set_yticks(list(places), [row["architecture"] for row in rows])
        for axes in (left, right):
            axes.grid(axis="x", linewidth=0.3)
        figure.tight_layout()
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return drawn.getvalue()
