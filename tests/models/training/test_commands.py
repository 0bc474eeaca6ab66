"""A model's life by its commands, on real videos: train, calibrate, evaluate, export, and again on the bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from models.decision.policy import load_policy
from models.preprocess.text import SPECIAL_TOKENS, segmenter
from schemas.errors import ExitCode
from stream.cli.main import run as reelsort


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("life") / "run"
    command = ["train", "--data", str(dataset), "--out", str(run), "--epochs", "1", "--threads", "1"]
    assert reelsort(command) == ExitCode.OK
    return run


def printed_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_from_videos_to_a_bundle(
    trained: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(dataset), "--threads", "1"]
    bundle = tmp_path / "bundle"

    assert reelsort(["evaluate", str(trained), *data]) == ExitCode.BAD_INPUT
    assert "has no policy" in capsys.readouterr().err
    assert reelsort(["export", str(trained), "--out", str(bundle)]) == ExitCode.BAD_INPUT
    assert "reelsort calibrate" in capsys.readouterr().err

    assert reelsort(["calibrate", str(trained), *data, "--audit-rate", "0.07", "--format", "json"]) == ExitCode.OK
    assert printed_json(capsys)["audit_rate"] == 0.07
    assert reelsort(["evaluate", str(trained), *data, "--format", "json"]) == ExitCode.OK
    of_run = printed_json(capsys)
    assert of_run["items"] == 16
    assert set(of_run["views"]) == {"all", "no text", "no frames", "no audio"}
    assert sum(route["share"] for route in of_run["routes"].values()) == pytest.approx(1.0)

    assert reelsort(["export", str(trained), "--out", str(bundle), "--name", "little"]) == ExitCode.OK
    loaded = Bundle.load(bundle)
    assert loaded.manifest.name == "little"
    assert loaded.manifest.metrics["level2_accuracy"] == of_run["views"]["all"]["level2"]["accuracy"]
    assert loaded.policy.audit_rate == pytest.approx(0.07)
    card = (bundle / "CARD.md").read_text(encoding="utf-8")
    assert f"| no text | {of_run['views']['no text']['level1']['accuracy']:.3f} |" in card
    assert "### Risk against coverage" in card
    capsys.readouterr()

    assert reelsort(["evaluate", str(bundle), *data, "--format", "json"]) == ExitCode.OK
    of_bundle = printed_json(capsys)
    for view, scores in of_run["views"].items():
        assert of_bundle["views"][view]["level2"]["accuracy"] == scores["level2"]["accuracy"]

    before = loaded
    assert reelsort(["calibrate", str(bundle), *data, "--audit-rate", "0.5"]) == ExitCode.OK
    after = Bundle.load(bundle)
    assert load_policy(bundle / "policy.json", after.taxonomy).audit_rate == 0.5
    assert (after.encoder_id, after.policy_id != before.policy_id) == (before.encoder_id, True)
    follows = (bundle / "CARD.md").read_text(encoding="utf-8")
    assert follows.index("50% of what is accepted goes to people") > follows.index("## When it publishes")
    assert "7% of what is accepted" not in follows
    assert "| route, test split |" in card
    assert "| route, test split |" not in follows  # nobody has counted what takes which route now
    assert "Calibrated again since the card was written" in follows
    assert follows.split("## When it publishes")[0] == card.split("## When it publishes")[0]
    assert follows.split("## Limits")[1] == card.split("## Limits")[1]

    assert reelsort(["calibrate", str(trained), *data, "--audit-rate", "0.5"]) == ExitCode.OK
    assert reelsort(["export", str(trained), "--out", str(bundle)]) == ExitCode.BAD_INPUT
    assert "was calibrated after it was evaluated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["train", "--data", "nowhere", "--out", "run"], "manifest.jsonl cannot be read"),
        (["train", "--data", "nowhere", "--out", "run", "--preset", "huge"], "no preset huge"),
        (
            ["train", "--data", "nowhere", "--out", "run", "--arch", "zeroshot"],
            "make its bundle with `reelsort zeroshot`",
        ),
        (["evaluate", "nowhere", "--data", "nowhere"], "there is no folder nowhere"),
        (["calibrate", "nowhere", "--data", "nowhere"], "there is no folder nowhere"),
        (["export", "nowhere", "--out", "bundle"], "nowhere is not a training run"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    command: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reelsort(command) == ExitCode.BAD_INPUT
    assert says in " ".join(capsys.readouterr().err.split())


def test_a_bundle_is_evaluated_where_torch_is_not_installed(dataset: Path, tiny: Path) -> None:
    """A process in which importing torch fails is a base install; the bundle does not know the dataset's classes."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from stream.cli.main import run\n"
        f"sys.exit(run(['evaluate', {str(tiny)!r}, '--data', {str(dataset)!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == ExitCode.BAD_INPUT
    assert "which is no category of this model" in " ".join(ended.stderr.split())


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import importlib.util as util, sys\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from stream.cli.main import run\n"
        f"sys.exit(run(['train', '--data', {str(tmp_path)!r}, '--out', {str(tmp_path / 'run')!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == ExitCode.BAD_INPUT
    assert "pip install 'reelsort[train]'" in ended.stderr


def test_text_is_read_by_words_where_asked_and_the_bundle_says_so(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle, data = tmp_path / "run", tmp_path / "bundle", ["--data", str(dataset), "--threads", "1"]
    assert reelsort(["train", *data, "--out", str(run), "--epochs", "1", "--tokens", "words"]) == ExitCode.OK
    assert reelsort(["calibrate", str(run), *data]) == ExitCode.OK
    assert reelsort(["export", str(run), "--out", str(bundle)]) == ExitCode.OK
    text = Bundle.load(bundle).manifest.text
    assert (text.tokens, text.segmenter) == ("words", segmenter())
    assert "| text | words at most: " in (bundle / "CARD.md").read_text(encoding="utf-8")
    learnt = json.loads((bundle / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert any(len(token) > 1 for token in set(learnt) - set(SPECIAL_TOKENS))
    capsys.readouterr()
    assert reelsort(["evaluate", str(bundle), *data, "--format", "json"]) == ExitCode.OK
    assert printed_json(capsys)["items"] == 16
