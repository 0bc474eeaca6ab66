"""`reelsort train-signals` on a small generated dataset and the bundle that ships."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle, default_bundle
from models.decision.decide import decide
from models.decision.evidence import evidence_json
from models.decision.types import AuthorEvidence, ContentEvidence, EngagementEvidence, Evidence
from models.training.card_signals import without_signals
from models.training.signal_items import read_decisions
from schemas.errors import ExitCode, UserError
from stream.cli.main import run as reelsort


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo bundle, without what a later one may know of signals."""
    folder = tmp_path_factory.mktemp("signals") / "bundle"
    shutil.copytree(default_bundle(), folder)
    policy = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    (folder / "policy.json").write_text(json.dumps(policy | {"signals": None}), encoding="utf-8")
    (folder / "signals.npz").unlink(missing_ok=True)
    return folder


def decision_lines(count: int) -> list[dict[str, Any]]:
    """Stored decisions whose author always publishes what the video turns out to be."""
    taxonomy = Bundle.load(default_bundle()).taxonomy
    level1 = [category.id for category in taxonomy.level1]
    rng = np.random.default_rng(5)
    lines = []
    for number in range(count):
        target = int(rng.integers(len(taxonomy.level2)))
        main = taxonomy.parent_index[target]
        engagement = EngagementEvidence(50, 0.5, ((main, 1.0),), (taxonomy.level2[target].zh,))
        lines.append(
            {
                "video_id": f"v{number}",
                "revision": 0,
                "published_at": "2026-01-01T00:00:00Z",
                "level1_logits": [0.0] * len(level1),
                "level2_logits": rng.normal(0, 1, len(taxonomy.level2)).tolist(),
                "evidence": evidence_json(AuthorEvidence(main_vertical=main, verified=True), engagement, level1),
                "label": taxonomy.level2[target].id,
            }
        )
    return lines


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_bundle_learns_from_stored_decisions_and_forgets_when_it_is_calibrated_again(
    bundle: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    stored = write(tmp_path / "decisions.jsonl", decision_lines(150))
    command = ["train-signals", str(bundle), "--decisions", str(stored), "--out", str(out), "--format", "json"]
    assert reelsort(command) == ExitCode.OK
    summary = json.loads(capsys.readouterr().out)
    assert summary["signals"]["loss"] < summary["content"]["loss"]
    before, after = Bundle.load(bundle), Bundle.load(out)
    assert (after.encoder_id, after.model_id) == (before.encoder_id, summary["model_id"])
    assert after.policy_id != before.policy_id
    assert after.policy.signals is not None
    assert before.policy.signals is None

    n_level1, n_level2 = len(after.taxonomy.level1), len(after.taxonomy.level2)
    blank = ContentEvidence(np.zeros(n_level1, np.float32), np.zeros(n_level2, np.float32))
    author = AuthorEvidence(main_vertical=n_level1 - 1, verified=True)
    assert decide(Evidence("v", 0, blank, author), after.policy).level1 == n_level1 - 1

    card = (out / "CARD.md").read_text(encoding="utf-8")
    assert card.count("## Signals") == 1
    assert card.index("## Signals") < card.index("## Limits")
    assert reelsort(["train-signals", str(out), "--decisions", str(stored)]) == ExitCode.OK
    again = (out / "CARD.md").read_text(encoding="utf-8")
    assert again == card

    assert reelsort(["calibrate", str(out), "--data", str(dataset), "--threads", "1"]) == ExitCode.OK
    assert "signals are forgotten" in capsys.readouterr().err
    assert Bundle.load(out).policy.signals is None
    forgotten, plain = ((folder / "CARD.md").read_text(encoding="utf-8") for folder in (out, bundle))
    assert forgotten == without_signals(forgotten)
    publishes = "## When it publishes"
    assert forgotten.split(publishes)[0].rstrip() == plain.split(publishes)[0].rstrip()


def test_a_bundle_learns_from_a_dataset_in_place(
    bundle: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(bundle, own)
    assert reelsort(["train-signals", str(own), "--data", str(dataset), "--threads", "1"]) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "with signals" in printed
    loaded = Bundle.load(own)
    assert loaded.policy.signals is not None
    assert loaded.model_id in printed
    assert sorted(path.name for path in own.parent.iterdir()) == ["own"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": "no.such"}, "line 2: the label no.such is no category"),
        ({"level2_logits": [0.0]}, "line 2: its logits are of another taxonomy"),
        ({"evidence": None}, "line 2: evidence"),
        ({"evidence": {"author": {"interests": [1]}}}, "line 2: evidence"),
        ({"published_at": "yesterday"}, "line 2: published_at"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    good, bad = decision_lines(2)
    path = write(tmp_path / "decisions.jsonl", [good, bad | changes])
    with pytest.raises(UserError, match=says):
        read_decisions(path, Bundle.load(default_bundle()).taxonomy)


def test_lines_keep_what_a_decision_saw(tmp_path: Path) -> None:
    lines = decision_lines(3)
    lines[1]["evidence"] = {"author": None, "engagement": None}
    lines[2]["added later"] = True
    items = read_decisions(write(tmp_path / "decisions.jsonl", lines), Bundle.load(default_bundle()).taxonomy)
    assert [item.video_id for item in items] == ["v0", "v1", "v2"]
    assert items[0].latest.engagement is not None
    assert items[0].author == AuthorEvidence(main_vertical=items[0].author.main_vertical, verified=True)  # type: ignore[union-attr]
    assert (items[1].author, items[1].engagements) == (None, ())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give --data DIR or --decisions FILE"),
        (["--data", "a", "--decisions", "b"], "give --data DIR or --decisions FILE"),
        (["--data", "nowhere"], "signals.jsonl cannot be read"),
        (["--decisions", "nowhere"], "nowhere cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    bundle: Path, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reelsort(["train-signals", str(bundle), *options]) == ExitCode.BAD_INPUT
    assert says in " ".join(capsys.readouterr().err.split())
