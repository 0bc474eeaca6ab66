"""The comparison of architectures: what its figures mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.synthetic.design import BY_ID
from models.training.dataset import load_split
from models.training.ladder import Rung, direction_accuracy, directions, plain_policy, played_backwards
from models.training.predict import Logits
from models.training.recipe import Recipe
from models.training.run import Progresses, Run, train


@pytest.fixture(scope="module")
def run(dataset: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory, unwatched: Progresses) -> Run:
    folder = tmp_path_factory.mktemp("ladder") / "run"
    return train(dataset, folder, recipe.model_copy(update={"epochs": 1}), seed=1, progresses=unwatched)


def saying(run: Run, to_the_right: list[float]) -> Logits:
    """Level-2 logits that are this much for every class that moves to the right."""
    right = np.array([BY_ID[category.id].direction == "right" for category in run.taxonomy.level2])
    level2 = (np.array(to_the_right)[:, None] * right).astype(np.float32)
    return Logits(level1=np.zeros((len(level2), len(run.taxonomy.level1)), np.float32), level2=level2)


def test_direction_is_told_by_the_clip_that_leans_more_to_where_it_moves(run: Run) -> None:
    shown = ["right", "left", None, "right"]
    forwards, backwards = saying(run, [3.0, -1.0, 0.0, -2.0]), saying(run, [1.0, 2.0, 9.0, 2.0])
    found = direction_accuracy(forwards, backwards, shown, run.taxonomy, plain_policy(run))
    assert found == pytest.approx(2 / 3)  # the last is wrong, the third shows nothing


def test_a_model_that_does_not_see_the_order_is_a_coin(run: Run) -> None:
    alike = saying(run, [3.0, -1.0])
    assert direction_accuracy(alike, alike, ["right", "left"], run.taxonomy, plain_policy(run)) == 0.5


def test_backwards_is_every_frame_in_reverse_and_nothing_else(run: Run, dataset: Path) -> None:
    examples = load_split(dataset, "test", run.spec)
    index = np.arange(len(examples))
    forth, back = examples.batch(index), played_backwards(examples).batch(index)
    np.testing.assert_array_equal(back.frames, forth.frames[:, ::-1])
    for one, other in zip(back.arrays()[1:], forth.arrays()[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(directions(dataset)) == len(examples)
    assert set(directions(dataset)) >= {"left", "right"}


def test_a_rung_is_kept_as_it_was(tmp_path: Path) -> None:
    rung = Rung("willow", "tiny", 2, 3, {"all": 0.5}, 0.6, 0.4, 0.5, 0.5, 12.0)
    rung.save(tmp_path / "rung.json")
    assert Rung.load(tmp_path / "rung.json") == rung
