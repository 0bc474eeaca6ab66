"""`reelsort train`, `calibrate`, `evaluate`, `export`: a model's life before it serves.

What needs torch is imported when it is asked for, so that every other command works on a base install.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import UserError
from schemas.manifest import Split
from stream.cli.options import Format, FormatOption
from stream.cli.progress import bar, need, need_torch, shown

if TYPE_CHECKING:
    from models.decision.policy import PolicyFile
    from models.training.evaluate import Evaluation

DataOption = Annotated[Path, typer.Option(help="A dataset's folder, as made by `reelsort data make`.")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Threads of the model.")]
SubjectArgument = Annotated[Path, typer.Argument(help="A training run's folder, or a bundle.")]


def register(app: typer.Typer) -> None:
    app.command("train")(_train)
    app.command("calibrate")(_calibrate)
    app.command("evaluate")(_evaluate)
    app.command("export")(_export)


def _train(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="The run's folder. An interrupted training in it goes on.")],
    arch: Annotated[
        str, typer.Option(help="The architecture: `reelsort models architectures` has them all.")
    ] = "dual_concat",
    preset: Annotated[str, typer.Option(help="Its inputs, sizes and training: tiny or base.")] = "tiny",
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the preset's.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Instead of the preset's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Instead of the preset's.")] = None,
    vision_weights: Annotated[
        str | None, typer.Option(help="A CLIP or Chinese-CLIP, for clips an image ViT: a folder or a hub name.")
    ] = None,
    text_weights: Annotated[
        str | None, typer.Option(help="A BERT or Chinese-CLIP to begin with: a folder, or a name on the hub.")
    ] = None,
    tokens: Annotated[
        Literal["characters", "words"] | None,
        typer.Option(help="What text is read by, instead of the preset's; words are cut by jieba."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 1,
    threads: ThreadsOption = 2,
) -> None:
    """Train a model. Killed at any moment, the same command goes on from the last whole epoch."""
    need_torch()
    if vision_weights or text_weights:
        need("transformers")
    import torch

    from models.training.loop import Epoch, Watcher
    from models.training.recipe import load_recipe
    from models.training.run import Progresses, train

    changes = {
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "vision_weights": vision_weights,
        "text_weights": text_weights,
    }
    changed = {name: value for name, value in changes.items() if value is not None}
    recipe = load_recipe(arch, preset, tokens=tokens, **changed)
    torch.set_num_threads(threads)
    with shown() as progress:

        def report(epoch: Epoch) -> None:
            progress.console.print(
                f"epoch {epoch.number:>3}/{recipe.epochs}  loss {epoch.loss:.3f}  "
                f"level-2 accuracy on validation {epoch.accuracy:.3f}  {epoch.seconds:.0f} s"
            )

        watcher = Watcher(step=bar(progress, "training"), epoch=report)
        train(data, out, recipe, seed=seed, progresses=Progresses(bar(progress, "decoding"), watcher))
    typer.echo(f"trained: {out}")


def _calibrate(
    subject: SubjectArgument,
    data: DataOption,
    target_risk: Annotated[float, typer.Option(min=0.001, max=0.5, help="Wrong answers among the accepted.")] = 0.05,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the bound on that risk.")] = 0.95,
    audit_rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Accepted videos that people see too.")] = 0.02,
    tail_items: Annotated[int, typer.Option(min=0, help="Classes with fewer training items are tail classes.")] = 60,
    threads: ThreadsOption = 2,
    output: FormatOption = Format.TABLE,
) -> None:
    """Fit temperatures and thresholds on the calibration split, and write policy.json; a bundle's card follows.

    A bundle that heeded signals forgets them: their thresholds rested on the old temperatures.
    """
    from models.training.dataset import load_split
    from models.training.predict import predict
    from models.training.subject import load_subject

    need("scipy")
    from models.training.calibrate import Target, calibrate
    from models.training.recalibrate import write_policy

    model = load_subject(subject, threads=threads)
    with shown() as progress:
        examples = load_split(data, "calibration", model.spec, progress=bar(progress, "decoding"))
        (logits,) = predict(model.runtime, examples, progress=bar(progress, "calibrating"))
    tail = tuple(name for name, items in model.class_counts.items() if items < tail_items)
    policy = calibrate(
        logits,
        examples.targets,
        model.taxonomy,
        target=Target(target_risk, confidence),
        audit_rate=audit_rate,
        tail_classes=tail,
    )
    if write_policy(subject, policy):
        typer.echo("signals are forgotten: run `reelsort train-signals` again", err=True)
    if output is Format.JSON:
        typer.echo(policy.model_dump_json(indent=2))
    else:
        _show_policy(policy)


def _evaluate(
    subject: SubjectArgument,
    data: DataOption,
    split: Annotated[str, typer.Option(help="validation, calibration or test.")] = "test",
    threads: ThreadsOption = 2,
    output: FormatOption = Format.TABLE,
) -> None:
    """Score both levels, and what each modality is worth. A run keeps its figures for its model card."""
    from models.training.dataset import load_split
    from models.training.evaluate import evaluate
    from models.training.subject import load_subject

    model = load_subject(subject, threads=threads)
    policy = model.policy()
    chosen = _split(split)
    with shown() as progress:
        examples = load_split(data, chosen, model.spec, progress=bar(progress, "decoding"))
        evaluation = evaluate(model.runtime, examples, policy, split=chosen, progress=bar(progress, "evaluating"))
    if (run := subject / "run.json").is_file():
        evaluation.save(run.with_name("evaluation.json"))
    if output is Format.JSON:
        typer.echo(orjson.dumps(evaluation.to_json(), option=orjson.OPT_INDENT_2))
    else:
        _show_evaluation(evaluation)


def _export(
    run: Annotated[Path, typer.Argument(help="A calibrated training run.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; an older bundle there is replaced.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name; without, the folder's.")] = None,
) -> None:
    """Write a bundle: both graphs, checked against torch, and everything that serving needs."""
    need_torch()
    from models.training.evaluate import Evaluation
    from models.training.export import export_run
    from models.training.run import Run

    loaded = Run.load(run)
    kept = run / "evaluation.json"
    evaluation = Evaluation.load(kept) if kept.is_file() else None
    export_run(loaded, out, name=name or out.name, evaluation=evaluation)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    typer.echo(f"exported: {out}, {size / 1e6:.1f} MB")


# --- what is wrong --------------------------------------------------------------------------------------------------


def _split(name: str) -> Split:
    splits: tuple[Split, ...] = ("train", "validation", "calibration", "test")
    for split in splits:
        if split == name:
            return split
    raise UserError(f"there is no split {name}", f"choose one of: {', '.join(splits)}")


# --- what is shown --------------------------------------------------------------------------------------------------


def _show_evaluation(evaluation: Evaluation) -> None:
    console = Console(highlight=False)
    full = evaluation.views["all"].level2.accuracy
    table = Table(title=f"{evaluation.items} videos of the {evaluation.split} split", title_justify="left")
    table.add_column("seen", no_wrap=True)
    for head in ("acc 1", "acc 2", "F1 1", "F1 2", "mean", "ECE 2", "loss"):
        table.add_column(head, justify="right", no_wrap=True)
    for view, scores in evaluation.views.items():
        figures = (
            scores.level1.accuracy,
            scores.level2.accuracy,
            scores.level1.macro_f1,
            scores.level2.macro_f1,
            scores.mean_metric,
            scores.level2.ece,
        )
        lost = "" if view == "all" else f"{full - scores.level2.accuracy:.3f}"
        table.add_row(view, *(f"{figure:.3f}" for figure in figures), lost)
    console.print(table)
    console.print(
        "acc: accuracy of level 1 and 2; F1: macro-F1 over all classes; mean: of micro- and macro-F1 of both levels;\n"
        "ECE: calibration error; loss: level-2 accuracy lost against seeing all\n",
        style="dim",
    )
    routes = Table("route", "share of videos", "wrong")
    for route, each in evaluation.routes.items():
        routes.add_row(route, f"{each.share:.3f}", "" if each.risk is None else f"{each.risk:.3f}")
    console.print(routes)
    curve = Table("coverage", "probability at least", "wrong at level 2")
    for point in evaluation.risk_coverage:
        curve.add_row(f"{point.coverage:.0%}", f"{point.threshold:.3f}", f"{point.risk:.3f}")
    console.print(curve)


def _show_policy(policy: PolicyFile) -> None:
    console = Console(highlight=False)
    console.print(f"temperatures: level 1 {policy.temperature.level1:.3f}, level 2 {policy.temperature.level2:.3f}")
    table = Table("level", "own threshold", "shared", "never accepted")
    for level in ("level1", "level2"):
        sources = [each["source"] for each in policy.calibration[level].values()]
        table.add_row(level, *(str(sources.count(source)) for source in ("own", "pooled", "none")))
    console.print(table)
