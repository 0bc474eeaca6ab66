"""`reelsort bench architectures`: it goes on where it was interrupted, and says what it found."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from models.training.ladder import VIEWS, Rung
from schemas.errors import ExitCode
from stream.bench.architectures import draw, markdown, report
from stream.cli.main import run as reelsort

NAMES = ("legacy", "vivit_2")


def rung(architecture: str, seed: int, accuracy: float, direction: float) -> Rung:
    return Rung(architecture, "tiny", seed, 10**6, dict.fromkeys(VIEWS, accuracy), 0.5, 0.4, 0.45, direction, 60.0)


RUNGS = [
    rung("legacy", 1, 0.4, 0.5),
    rung("legacy", 2, 0.5, 0.5),
    rung("vivit_2", 1, 0.6, 0.9),
    rung("vivit_2", 2, 0.6, 0.8),
]


def test_the_report_has_means_deviations_and_the_way_from_the_baseline() -> None:
    best, baseline = report(RUNGS)["rows"]
    assert (best["architecture"], baseline["architecture"]) == ("vivit_2", "legacy")
    assert best["level2"]["all"] == pytest.approx((0.6, 0.0))
    assert best["direction"] == pytest.approx((0.85, 0.05 * 2**0.5))
    assert best["above_baseline"] == pytest.approx(0.15)
    assert baseline["above_baseline"] == 0


def test_the_picture_and_the_page_show_every_architecture() -> None:
    result = report(RUNGS)
    assert ElementTree.fromstring(draw(result)).tag.endswith("svg")
    assert draw(result) == draw(result)
    for name in NAMES:
        assert f"| `{name}` |" in markdown(result)


def test_it_trains_what_is_missing_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "architectures", "--out", str(tmp_path), "--seeds", "2", "--train", "40", "--test", "12"]
    command += ["--epochs", "1", "--processes", "1", "--format", "json", *[f"--arch={name}" for name in NAMES]]
    results = tmp_path / "results-1"
    results.mkdir()
    for each in RUNGS[:3]:
        each.save(results / f"{each.architecture}-{each.seed}.json")
    assert reelsort(command) == 0
    assert (results / "vivit_2-2.json").exists()
    rows = {row["architecture"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["legacy"]["level2"]["all"] == pytest.approx((0.45, 0.05 * 2**0.5))
    assert rows["vivit_2"]["seeds"] == 2


def test_a_misspelt_name_is_told_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reelsort(["bench", "architectures", "--out", str(tmp_path), "--arch", "resnet"]) == ExitCode.BAD_INPUT
    assert "no architecture named resnet" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
