"""The committed bundle is worth what its card says, on videos of a seed it never saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from models.bundle import Bundle, default_bundle
from models.runtimes.golden import check_golden
from models.runtimes.registry import runtimes
from models.synthetic.make import DatasetOptions, make_dataset
from models.training.evaluate import VIEWS
from schemas.errors import ExitCode
from stream.cli.main import run as reelsort

VIDEOS = 160
MEGABYTES = 15


def test_level_2_is_right_for_six_in_ten_and_every_modality_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"train": 0, "validation": 0, "calibration": 0, "test": VIDEOS, "unlabelled": 0}
    make_dataset(tmp_path / "data", DatasetOptions(seed=4242, counts=counts))
    command = ["evaluate", str(default_bundle()), "--data", str(tmp_path / "data"), "--format", "json"]
    assert reelsort(command) == ExitCode.OK
    printed = json.loads(capsys.readouterr().out)
    assert printed["items"] == VIDEOS
    right = {view: round(VIDEOS * scores["level2"]["accuracy"]) for view, scores in printed["views"].items()}
    # a model that is right for 60 % has fewer than this right once in a thousand such sets
    assert right["all"] >= stats.binom.ppf(0.001, VIDEOS, 0.60)
    assert set(right) == set(VIEWS)
    for view in set(VIEWS) - {"all"}:
        assert right["all"] - right[view] >= 0.05 * VIDEOS


def test_the_card_and_the_manifest_promise_what_was_asked_for() -> None:
    metrics = Bundle.load(default_bundle()).manifest.metrics
    assert metrics["level2_accuracy"] >= 0.60
    for modality in ("text", "frames", "audio"):
        assert metrics["level2_accuracy"] - metrics[f"level2_accuracy_no_{modality}"] >= 0.05
    card = (default_bundle() / "CARD.md").read_text(encoding="utf-8")
    assert f"{metrics['level2_accuracy']:.3f}" in card


def test_it_is_small_and_every_runtime_answers_its_probes() -> None:
    bundle = Bundle.load(default_bundle())
    size = sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file())
    assert size <= MEGABYTES * 10**6
    for spec in runtimes().values():
        runtime = spec.load(bundle, "fp32", 1)
        check_golden(bundle, runtime)
        runtime.close()
