"""`reelsort data`: the datasets models are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from schemas.manifest import Split
from stream.cli.options import Format, FormatOption

NAME = "data"
app = typer.Typer(no_args_is_help=True, help="The datasets that models are made from.")


@app.callback()
def _group() -> None:
    """The datasets that models are made from."""


@app.command()
def make(
    out: Annotated[Path, typer.Argument(help="The folder to make; it appears once it is whole.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same manifest.")] = 1,
    train: Annotated[int, typer.Option(min=0)] = 4000,
    validation: Annotated[int, typer.Option(min=0)] = 400,
    calibration: Annotated[int, typer.Option(min=0)] = 800,
    test: Annotated[int, typer.Option(min=0)] = 800,
    unlabelled: Annotated[int, typer.Option(min=0)] = 0,
    ambiguous: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of videos that show their topic alone: signals must tell.")
    ] = 0.0,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    output: FormatOption = Format.TABLE,
) -> None:
    """Generate real mp4 files in which text, pictures, their order and sound each carry a part of the answer.

    Prints the oracle ceilings: what a perfect reader of some modalities alone could reach.
    """
    from models.synthetic.design import Noise
    from models.synthetic.make import DatasetOptions, make_dataset

    counts: dict[Split, int] = {
        "train": train,
        "validation": validation,
        "calibration": calibration,
        "test": test,
        "unlabelled": unlabelled,
    }
    if not any(counts.values()):
        raise typer.BadParameter("every split is empty", param_hint="--train, --test, …")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("making videos", total=sum(counts.values()))
        options = DatasetOptions(seed, counts, Noise(ambiguous=ambiguous))
        made = make_dataset(out, options, processes=processes, progress=lambda count: bar.advance(task, count))
    if output is Format.JSON:
        typer.echo(orjson.dumps(made | {"folder": str(out)}, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(Console(), out, made)


def _show(console: Console, out: Path, made: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {split}" for split, count in made["options"]["counts"].items() if count)
    console.print(f"{out}: {counts}; {len(made['classes'])} classes, {made['authors']} authors")
    table = Table(title=f"oracle ceilings, level 2, on {made['ceilings_items']} items", title_justify="left", box=None)
    table.add_column("from")
    table.add_column("accuracy", justify="right")
    for what, accuracy in made["ceilings"].items():
        table.add_row(what, f"{accuracy:.3f}")
    console.print(table)
