"""`reelsort bench evidence`: what authors and engagement are worth to a decision, and what fake viewers can do to it.

Each step leaves a file: what an interrupted call finished is not done again.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from stream.cli.options import Format, FormatOption
from stream.cli.progress import bar, need, shown
from stream.cli.train_signals import CONFIDENCE, MARGIN

if TYPE_CHECKING:
    from models.decision.types import Policy
    from models.training.evidence_bench import Worth
    from models.training.signal_items import Comments, Item

NAME = "evidence"
HEADS = ("signals", "other authors", "other engagement")  # the second and third learn from other videos'

# what is claimed of them: accuracy in one view above that in another, of a half or of all videos
GAINS = {
    "ambiguous half: the author": ("author", "content", "ambiguous"),
    "ambiguous half: engagement besides": ("both", "author", "ambiguous"),
    "clear half: the author": ("author", "content", "clear"),
    "clear half: both": ("both", "content", "clear"),
    "all: authors of other videos": ("other authors", "content", "all"),
    "all: engagement of other videos": ("other engagement", "content", "all"),
}

Spread = tuple[float, float]  # mean, standard deviation over seeds


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    out: Annotated[Path, typer.Option(help="Where videos, heads and results are kept; a second call goes on.")],
    bundle: Annotated[Path | None, typer.Option(help="Whose content answers count; without, the demo bundle.")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Test sets.")] = 3,
    train: Annotated[int, typer.Option(min=100, help="Videos that the head learns from.")] = 2500,
    test: Annotated[int, typer.Option(min=50, help="Videos of each test set.")] = 4000,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the model.")] = 2,
    output: FormatOption = Format.TABLE,
) -> None:
    """Accuracy of content alone, with the author, with engagement and with both, beside permuted and attacked ones."""
    need("scipy")
    from models.bundle import default_bundle
    from models.training.evidence_bench import Worth, measure
    from models.training.evidence_sets import make_test_set, read_test_set

    subject = bundle or default_bundle()
    results = out / f"results-{train}-{test}"
    results.mkdir(parents=True, exist_ok=True)
    paths = [results / f"seed-{seed}.json" for seed in range(1, seeds + 1)]
    with shown() as progress:
        for seed, path in enumerate(paths, start=1):
            if path.exists():
                continue
            policies = _policies(out, subject, train, threads, progress)
            made = progress.add_task(f"making test videos {seed}", total=test)
            folder = out / f"test-{seed}-{test}"
            make_test_set(folder, seed, test, lambda done, task=made: progress.advance(task, done))  # type: ignore[misc]
            tests = read_test_set(
                folder,
                seed,
                subject,
                threads=threads,
                decoding=bar(progress, "decoding"),
                predicting=bar(progress, "predicting"),
            )
            measure(tests, *policies).save(path)
    result = report([Worth.load(path) for path in paths])
    if output is Format.JSON:
        typer.echo(orjson.dumps(result | {"train": train, "test": test}, option=orjson.OPT_INDENT_2))
        return
    console = Console(highlight=False)
    for each in tables(result):
        console.print(each)
        console.print()


def _policies(out: Path, bundle: Path, train: int, threads: int, progress: Progress) -> list[Policy]:
    """Of the three heads, in the order of HEADS; trained where no earlier call has."""
    from models.bundle import Bundle
    from models.training.evidence_bench import shuffled
    from models.training.evidence_sets import HEAD_SEED, make_head_set
    from models.training.signal_bundle import comments_in, read_items, read_policy_file, write_signals
    from models.training.signal_policy import train_signals

    folders = [out / f"head-{train}-{name.replace(' ', '-')}" for name in HEADS]
    if not all((folder / "bundle.json").is_file() for folder in folders):
        data = out / f"train-{train}"
        made = progress.add_task("making videos", total=None)
        make_head_set(data, train, lambda done: progress.advance(made, done))
        loaded = Bundle.load(bundle)
        honest, comments = read_items(
            bundle, data, threads=threads, decoding=bar(progress, "decoding"), predicting=bar(progress, "predicting")
        )
        # whoever learns from other videos' engagement reads their comments too
        moved = shuffled(honest, HEAD_SEED, authors=False)
        learnt: list[tuple[list[Item], list[Comments]]] = [
            (honest, comments),
            (shuffled(honest, HEAD_SEED, authors=True), comments),
            (moved, comments_in(moved)),
        ]
        for folder, name, (items, said) in zip(folders, HEADS, learnt, strict=True):
            if not (folder / "bundle.json").is_file():
                trained = train_signals(
                    items,
                    said,
                    read_policy_file(bundle),
                    loaded.policy,
                    loaded.taxonomy,
                    margin=MARGIN,
                    confidence=CONFIDENCE,
                    progress=bar(progress, f"learning from {name}"),
                )
                write_signals(bundle, folder, trained)
    return [Bundle.load(folder).policy for folder in folders]


def report(results: Sequence[Worth]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every figure; ece_largest: of the seed that has it, ece_pooled: over
    the videos of all of them.

    gain: of accuracy, each seed's own. by_chance: what the calibration error would be, were the answers calibrated
    perfectly; it depends on the number of videos alone, more or less.
    """
    from models.training.evidence_bench import calibration_error, calibration_error_of_chance

    first = results[0]
    return {
        "bench": NAME,
        "seeds": len(results),
        "margin": MARGIN,
        "accuracy": {
            view: {
                half: _spread([getattr(each.accuracy[view], half) for each in results])
                for half in ("all", "clear", "ambiguous")
            }
            for view in first.accuracy
        },
        "gain": {
            name: _spread(
                [getattr(each.accuracy[after], half) - getattr(each.accuracy[before], half) for each in results]
            )
            for name, (after, before, half) in GAINS.items()
        },
        "ece": {view: _spread([each.ece(view) for each in results]) for view in first.confidence},
        "ece_largest": {view: max(each.ece(view) for each in results) for view in first.confidence},
        "ece_by_chance": {
            view: _spread([calibration_error_of_chance([each], view) for each in results]) for view in first.confidence
        },
        "ece_pooled": {view: calibration_error(results, view) for view in first.confidence},
        "ece_pooled_by_chance": {view: calibration_error_of_chance(results, view) for view in first.confidence},
        "published": {view: _spread([each.published[view][0] for each in results]) for view in first.published},
        "published_wrong": {view: _spread([each.published[view][1] for each in results]) for view in first.published},
        "brigade": {
            "published labels that flip": _spread([each.brigade_flips for each in results]),
            "published level-1 labels that flip": _spread([each.brigade_level1_flips for each in results]),
            "published labels that are withheld": _spread([each.brigade_withheld for each in results]),
            "videos newly published as what it says": _spread([each.brigade_published for each in results]),
            "answers, published or not, that become what it says": _spread([each.brigade_answers for each in results]),
        },
    }


def _spread(values: Sequence[float]) -> Spread:
    return statistics.mean(values), statistics.stdev(values)


def tables(result: dict[str, Any]) -> list[Table]:
    """What a person reads."""
    accuracy, answers, labels = (Table(box=None, pad_edge=False) for _ in range(3))
    for table, columns in (
        (accuracy, ("ambiguous half", "clear half", "all")),
        (answers, ("ECE", "largest", "by chance", "pooled", "by chance")),
        (labels, ("published", "wrong of it")),
    ):
        table.add_column("level 2 by content and …", no_wrap=True)
        for column in columns:
            table.add_column(column, justify="right", no_wrap=True)
    for view, halves in result["accuracy"].items():
        accuracy.add_row(_NAMES.get(view, view), *(_say(halves[half]) for half in ("ambiguous", "clear", "all")))
    for view, name in _NAMES.items():
        answers.add_row(
            name,
            _say(result["ece"][view]),
            f"{result['ece_largest'][view]:.3f}",
            f"{result['ece_by_chance'][view][0]:.3f}",
            f"{result['ece_pooled'][view]:.3f}",
            f"{result['ece_pooled_by_chance'][view]:.3f}",
        )
        labels.add_row(name, _say(result["published"][view]), _say(result["published_wrong"][view]))
    gain = Table(box=None, pad_edge=False)
    gain.add_column("accuracy gained", no_wrap=True)
    gain.add_column("points", justify="right")
    for what, (mean, deviation) in result["gain"].items():
        gain.add_row(what, f"{100 * mean:+.1f} ± {100 * deviation:.1f}")
    brigade = Table(box=None, pad_edge=False)
    brigade.add_column("5 % of viewers name one wrong class", no_wrap=True)
    brigade.add_column("share", justify="right")
    for what, share in result["brigade"].items():
        brigade.add_row(what, _say(share))
    return [accuracy, gain, answers, labels, brigade]


_NAMES = {
    "content": "nothing else",
    "author": "the author",
    "engagement": "engagement",
    "both": "the author and engagement",
}


def _say(spread: Spread) -> str:
    return f"{spread[0]:.3f} ± {spread[1]:.3f}"
