"""`reelsort train-signals`: a bundle learns what authors and engagement are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import UserError
from stream.cli.options import Format, FormatOption
from stream.cli.progress import bar, need, shown

if TYPE_CHECKING:
    from models.training.signal_policy import Trained

MARGIN = 0.6
CONFIDENCE = 0.95


def register(app: typer.Typer) -> None:
    app.command("train-signals")(_train_signals)


def _train_signals(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    data: Annotated[
        Path | None, typer.Option(help="A dataset with signals.jsonl; its validation and calibration splits are used.")
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="Stored decisions with what people said of them (JSONL), instead of a dataset.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Another folder; without, the bundle itself changes.")] = None,
    margin: Annotated[
        float, typer.Option(min=0.01, max=10.0, help="Log-odds by which signals must beat the content to move it.")
    ] = MARGIN,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the bound on the risk.")] = CONFIDENCE,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
    output: FormatOption = Format.TABLE,
) -> None:
    """Fit the signal head and its thresholds: signals.npz and policy.json. Stored predictions stay valid.

    The target risk is the policy's. Give videos that the encoder was not trained on.
    """
    need("scipy")
    if (data is None) == (decisions is None):
        raise UserError("train-signals learns from one of two things", "give --data DIR or --decisions FILE")
    from models.bundle import Bundle
    from models.training.place import check_target
    from models.training.signal_bundle import comments_in, read_items, read_policy_file, write_signals
    from models.training.signal_items import read_decisions
    from models.training.signal_policy import train_signals

    loaded = Bundle.load(bundle)
    target = out or bundle
    check_target(target)
    with shown() as progress:
        if data is not None:
            items, comments = read_items(
                bundle,
                data,
                threads=threads,
                decoding=bar(progress, "decoding"),
                predicting=bar(progress, "predicting"),
            )
        else:
            assert decisions is not None  # one of the two is given
            items = read_decisions(decisions, loaded.taxonomy)
            comments = comments_in(items)
        trained = train_signals(
            items,
            comments,
            read_policy_file(bundle),
            loaded.policy,
            loaded.taxonomy,
            margin=margin,
            confidence=confidence,
            progress=bar(progress, "fitting"),
        )
    written = write_signals(bundle, target, trained)
    if output is Format.JSON:
        typer.echo(orjson.dumps({"model_id": written.model_id, **trained.summary}, option=orjson.OPT_INDENT_2))
    else:
        _show(trained)
        typer.echo(f"trained: {target}, {written.model_id}")


def _show(trained: Trained) -> None:
    summary = trained.summary
    table = Table(title=f"{summary['items']} videos that the head was not fitted on", title_justify="left", box=None)
    for column in ("", "level 2", "calibration error", "loss"):
        table.add_column(column, justify="right" if column else "left")
    for name, each in (("content alone", summary["content"]), ("with signals", summary["signals"])):
        table.add_row(name, f"{each['accuracy']:.3f}", f"{each['ece']:.3f}", f"{each['loss']:.3f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{summary['moved']:.1%} of the answers moved")
