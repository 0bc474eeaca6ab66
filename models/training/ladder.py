"""One rung of the comparison of architectures: train a preset with a seed, and say what it learnt of what."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.decision.policy import PolicyFile, resolve
from models.decision.probabilities import hierarchical
from models.decision.types import Policy
from models.synthetic.design import BY_ID
from models.training.dataset import Examples, load_split, read_manifest, rows_of
from models.training.evaluate import scores
from models.training.loop import Watcher
from models.training.model_runtime import ModelRuntime
from models.training.predict import Logits, Modality, predict
from models.training.recipe import load_recipe
from models.training.run import Progresses, Run, train
from schemas.taxonomy import Taxonomy

# What is shown to the model, and what is missing from it; every model learnt to do without by modality dropout.
VIEWS: dict[str, tuple[Modality, ...]] = {
    "all": (),
    "text and frames": ("audio",),
    "text": ("frames", "audio"),
    "frames": ("text", "audio"),
}


@dataclass(frozen=True, slots=True)
class Rung:
    """A trained preset on the test split. level2: accuracy by the names of VIEWS.

    direction: from frames alone, how often the model tells a clip from the same clip played backwards; a model that
    does not see the order gets exactly 0.5.
    """

    architecture: str
    preset: str
    seed: int
    parameters: int
    level2: dict[str, float]
    level1: float
    macro_f1: float  # level 2, over all classes
    mean_metric: float
    direction: float
    seconds: float  # of training

    def save(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Rung:
        """What save() wrote."""
        return cls(**json.loads(path.read_bytes()))


def climb(architecture: str, preset: str, data: Path, *, seed: int, epochs: int | None, threads: int) -> Rung:
    """Train and score. Raises UserError for an unknown name or a dataset that does not fit."""
    torch.set_num_threads(threads)
    changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    recipe = load_recipe(architecture, preset, **changes)
    spent: list[float] = []
    watcher = Watcher(step=lambda done, total: None, epoch=lambda epoch: spent.append(epoch.seconds))
    with tempfile.TemporaryDirectory(prefix="reelsort-ladder-") as folder:
        run = train(data, Path(folder) / "run", recipe, seed=seed, progresses=Progresses(lambda d, t: None, watcher))
        model = run.model()
    runtime, test, policy = ModelRuntime(model), load_split(data, "test", run.spec), plain_policy(run)
    views = dict(zip(VIEWS, predict(runtime, test, list(VIEWS.values())), strict=True))
    (backwards,) = predict(runtime, played_backwards(test), [VIEWS["frames"]])
    figures = {view: scores(logits, test.targets, policy) for view, logits in views.items()}
    return Rung(
        architecture=architecture,
        preset=preset,
        seed=seed,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        level2={view: each.level2.accuracy for view, each in figures.items()},
        level1=figures["all"].level1.accuracy,
        macro_f1=figures["all"].level2.macro_f1,
        mean_metric=figures["all"].mean_metric,
        direction=direction_accuracy(views["frames"], backwards, directions(data), run.taxonomy, policy),
        seconds=sum(spent),
    )


def plain_policy(run: Run) -> Policy:
    """No temperature, no class scale: the probabilities as they were trained."""
    thresholds = PolicyFile(
        taxonomy_id=run.taxonomy.id,
        level1_thresholds={category.id: 1.0 for category in run.taxonomy.level1},
        level2_thresholds={category.id: 1.0 for category in run.taxonomy.level2},
        audit_rate=0.0,
        target_risk=0.05,
    )
    return resolve(thresholds, run.taxonomy, policy_id="plain")


def played_backwards(examples: Examples) -> Examples:
    """The same videos, their frames in reverse."""
    return replace(examples, clips=replace(examples.clips, frames=examples.clips.frames[:, ::-1]))


def directions(data: Path) -> list[str | None]:
    """The direction that each video of the test split shows, None where it shows none."""
    return [row.factors.get("seen_direction") for row in rows_of(read_manifest(data), "test")]


def direction_accuracy(
    forwards: Logits, backwards: Logits, shown: list[str | None], taxonomy: Taxonomy, policy: Policy
) -> float:
    """How often a clip is more to the side it moves to than the same clip backwards, by the probability of the classes
    that move there; a tie counts half. Videos that show no direction do not count."""
    visible = np.array([place for place, direction in enumerate(shown) if direction], np.int64)
    right = np.array([shown[place] == "right" for place in visible])
    to_the_right = _moving_right(taxonomy)
    forth, back = (
        hierarchical(each.level1[visible], each.level2[visible], policy).level2 @ to_the_right
        for each in (forwards, backwards)
    )
    gap = np.where(right, forth - back, back - forth)
    return float((gap > _TIE).mean() + 0.5 * (np.abs(gap) <= _TIE).mean())


_TIE = 1e-6  # sums over frames in another order differ by their last bits


def _moving_right(taxonomy: Taxonomy) -> NDArray[np.float64]:
    return np.array([BY_ID[category.id].direction == "right" for category in taxonomy.level2], np.float64)
