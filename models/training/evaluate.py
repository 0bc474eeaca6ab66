"""What a model is worth on a split: both levels, each modality, calibration, routes, risk against coverage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from models.decision.answers import best_answers
from models.decision.decide import decide_many
from models.decision.probabilities import hierarchical
from models.decision.types import ContentEvidence, Evidence, Policy, Route
from models.runtimes.base import Runtime
from models.training.dataset import Examples
from models.training.metrics import LevelScores, RiskPoint, level_scores, mean_metric, risk_coverage
from models.training.predict import MODALITIES, Logits, Modality, predict
from schemas.errors import UserError

COVERAGES = np.arange(1, 11) / 10

# What is shown to the model, and what is missing from it.
VIEWS: dict[str, tuple[Modality, ...]] = {"all": (), **{f"no {each}": (each,) for each in MODALITIES}}


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one view of the split."""

    level1: LevelScores
    level2: LevelScores
    mean_metric: float


@dataclass(frozen=True, slots=True)
class RouteShare:
    """A route's share of the videos, and the share of them where what is published is wrong."""

    share: float
    risk: float | None  # None for a route that nothing took, and for review, which publishes nothing


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `reelsort evaluate` prints. views: by the names of VIEWS; routes: by those of Route.

    policy_id: of the policy that the probabilities and routes are of.
    """

    policy_id: str
    split: str
    items: int
    views: dict[str, Scores]
    routes: dict[str, RouteShare]
    risk_coverage: list[RiskPoint]  # level 2

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """What save() wrote. Raises UserError where it is something else."""
        try:
            return _FILE.validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise UserError(f"{path} cannot be read", "run `reelsort evaluate` again") from error

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that bundle.json carries."""
        scores = self.views["all"]
        levels = {"level1": scores.level1, "level2": scores.level2}
        flat = {f"{level}_{name}": value for level, each in levels.items() for name, value in asdict(each).items()}
        ablations = {
            f"level2_accuracy_{view.replace(' ', '_')}": each.level2.accuracy
            for view, each in self.views.items()
            if view != "all"
        }
        return {**flat, "mean_metric": scores.mean_metric, **ablations}


_FILE = TypeAdapter(Evaluation)


def evaluate(
    runtime: Runtime,
    examples: Examples,
    policy: Policy,
    *,
    split: str,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score the examples against their labels; probabilities and routes are those that serving would give."""
    logits = dict(zip(VIEWS, predict(runtime, examples, list(VIEWS.values()), progress=progress), strict=True))
    return Evaluation(
        policy_id=policy.policy_id,
        split=split,
        items=len(examples),
        views={view: scores(each, examples.targets, policy) for view, each in logits.items()},
        routes=route_shares(logits["all"], examples.targets, policy),
        risk_coverage=level2_risk(logits["all"], examples.targets, policy),
    )


def scores(logits: Logits, truth: NDArray[np.int64], policy: Policy) -> Scores:
    """Both levels' figures. truth: [N] level-2 classes."""
    answers = best_answers(hierarchical(logits.level1, logits.level2, policy), policy)
    level1 = level_scores(policy.parent[truth], answers.level1, answers.level1_probability, policy.n_level1)
    level2 = level_scores(truth, answers.level2, answers.level2_probability, len(policy.parent))
    return Scores(level1=level1, level2=level2, mean_metric=mean_metric(level1, level2))


def route_shares(logits: Logits, truth: NDArray[np.int64], policy: Policy) -> dict[str, RouteShare]:
    """How many videos take each route, and how often what it publishes is wrong."""
    evidence = [
        Evidence(video_id=str(place), revision=0, content=ContentEvidence(level1, level2))
        for place, (level1, level2) in enumerate(zip(logits.level1, logits.level2, strict=True))
    ]
    right: dict[Route, list[bool]] = {route: [] for route in Route}
    for decision, true in zip(decide_many(evidence, policy), truth.tolist(), strict=True):
        level2_published = decision.route is Route.ACCEPT
        right[decision.route].append(
            decision.level2 == true if level2_published else decision.level1 == int(policy.parent[true])
        )
    return {
        route.value: RouteShare(
            share=len(each) / len(truth),
            risk=each.count(False) / len(each) if each and route is not Route.REVIEW else None,
        )
        for route, each in right.items()
    }


def level2_risk(logits: Logits, truth: NDArray[np.int64], policy: Policy) -> list[RiskPoint]:
    """Risk of level 2 at each of COVERAGES."""
    answers = best_answers(hierarchical(logits.level1, logits.level2, policy), policy)
    return risk_coverage(answers.level2_probability, answers.level2 == truth, COVERAGES)
