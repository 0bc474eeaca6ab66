"""`reelsort models`: what models there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from stream.cli.options import Format, FormatOption
from stream.cli.progress import need

if TYPE_CHECKING:
    from models.training.measure import Size


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="What models there are.", no_args_is_help=True)
    group.command("architectures")(_architectures)
    app.add_typer(group, name="models")


def _architectures(
    name: Annotated[str | None, typer.Argument(help="One of them; all without.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Every architecture and preset: parameters, multiply-accumulates a video, inputs, source.

    Counted with the whole taxonomy and the vocabulary of the published Chinese BERTs; a trained model has its own.
    """
    need("torch")
    from models.architectures import names, presets
    from models.training.measure import VOCABULARY, measure

    sizes = [measure(each, preset) for each in ([name] if name else names()) for preset in presets(each)]
    if output is Format.JSON:
        typer.echo(orjson.dumps([_plain(size) for size in sizes], option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("architecture", "preset"):
        table.add_column(column, no_wrap=True)
    for column in ("parameters", "GMAC"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("sees", "source"):
        table.add_column(column)
    said = ""
    for size in sizes:
        source, said = "" if size.source == said else size.source, size.source  # once, not for every preset
        table.add_row(
            size.architecture,
            size.preset,
            f"{size.parameters / 1e6:.2f} M",
            f"{size.macs / 1e9:.2f}",
            _sees(size),
            source,
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"parameters: with the whole taxonomy and {VOCABULARY:,} tokens; GMAC: thousand million multiply-accumulates\n"
        "of a video that has everything, at its longest",
        style="dim",
    )


def _sees(size: Size) -> str:
    plan, audio = size.inputs.frame_plan, size.inputs.audio_plan
    clips = f" in clips of {plan.clip}" if plan.clip else ""
    sound = f", {audio.seconds:g} s of sound" if audio else ""
    return f"{plan.count} × {plan.size}²{clips}{sound}, {max(size.inputs.text.length_buckets)} tokens"


def _plain(size: Size) -> dict[str, object]:
    plan, audio = size.inputs.frame_plan, size.inputs.audio_plan
    return {
        "architecture": size.architecture,
        "preset": size.preset,
        "parameters": size.parameters,
        "macs": size.macs,
        "frames": plan.count,
        "frame_size": plan.size,
        "clip": plan.clip,
        "audio_seconds": audio.seconds if audio else None,
        "tokens": max(size.inputs.text.length_buckets),
        "source": size.source,
    }
