"""A small generated dataset and a recipe that fits it. Every test here runs torch on one thread."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.media.types import AudioPlan, FramePlan
from models.synthetic.make import DatasetOptions, make_dataset
from models.training.loop import Watcher
from models.training.recipe import Recipe, load_recipe
from models.training.run import Progresses
from tests.support.single_thread import one_thread

__all__ = ["one_thread"]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dozen real videos in every split."""
    folder = tmp_path_factory.mktemp("generated") / "data"
    counts = {"train": 40, "validation": 12, "calibration": 24, "test": 16, "unlabelled": 0}
    make_dataset(folder, DatasetOptions(seed=11, counts=counts), processes=1)
    return folder


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """As small as can be."""
    return load_recipe(
        "dual_concat",
        "tiny",
        options={
            "vision": {"width": 16, "heads": 2},
            "text": {"width": 16, "heads": 2, "layers": 1},
            "audio": {"width": 16, "heads": 2},
            "width": 16,
            "heads": 2,
        },
        frame_plan=FramePlan(count=3, size=32),
        audio_plan=AudioPlan(sample_rate=8000, window=512, hop=256, mels=16, seconds=2.0),
        min_character_count=1,
        epochs=2,
        batch=16,
    )


@pytest.fixture(scope="session")
def unwatched() -> Progresses:
    return Progresses(decoding=lambda done, total: None, training=Watcher(lambda done, total: None, lambda epoch: None))
