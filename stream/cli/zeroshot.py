"""`reelsort zeroshot`: a bundle from a published model and a taxonomy, with no training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schemas.taxonomy import default_taxonomy, load_taxonomy
from stream.cli.progress import bar, need, need_torch, shown


def register(app: typer.Typer) -> None:
    app.command("zeroshot")(_zeroshot)


def _zeroshot(
    model: Annotated[str, typer.Option(help="A CLIP or Chinese-CLIP: a folder, or a name on the hub.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; an older bundle there is replaced.")],
    taxonomy: Annotated[
        Path | None,
        typer.Option(help="The categories and the sentences that describe them (JSON); without, those that ship."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
) -> None:
    """Write a bundle that answers from pictures alone, without a labelled video. It is not calibrated."""
    categories = load_taxonomy(taxonomy) if taxonomy else default_taxonomy()
    need_torch()
    need("transformers")
    import torch

    from models.training.place import check_target
    from models.training.zeroshot import read_checkpoint, write_zeroshot

    check_target(out)
    torch.set_num_threads(threads)
    with shown() as progress:
        reading, exporting = (bar(progress, what) for what in ("reading the model", "exporting"))
        reading(0, 1)
        read = read_checkpoint(model)
        reading(1, 1)
        embedding = bar(progress, "embedding sentences")

        def step(done: int, total: int) -> None:
            embedding(done, total)
            if done == total:
                exporting(0, 1)

        write_zeroshot(out, read, categories, progress=step)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    typer.echo(f"exported: {out}, {size / 1e6:.1f} MB; not calibrated: see its CARD.md")
