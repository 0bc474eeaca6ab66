from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.decision.policy import SignalRulesFile, load_policy, policy_identity, save_policy
from models.decision.signal_file import load_signal_head, save_signal_head
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy
from tests.models.decision.signal_cases import make_head
from tests.models.decision.test_policy import policy_file, taxonomy

__all__ = ["taxonomy"]


def write(folder: Path, taxonomy: Taxonomy, *, rules: bool = True, head: bool = True) -> Path:
    written = policy_file(taxonomy)
    signals = SignalRulesFile(
        margin=0.7,
        level1_thresholds=dict.fromkeys(written.level1_thresholds, 0.4),
        level2_thresholds=dict.fromkeys(written.level2_thresholds, None),
    )
    path = folder / "policy.json"
    save_policy(path, written.model_copy(update={"signals": signals if rules else None}))
    if head:
        size = (len(taxonomy.level1), len(taxonomy.level2))
        save_signal_head(folder / "signals.npz", make_head(*size, history_weight=0.3), taxonomy)
    return path


def test_what_training_saves_is_what_decisions_use(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = write(tmp_path, taxonomy)
    policy = load_policy(path, taxonomy)
    assert policy.signals is not None
    assert (policy.signals.margin, policy.signals.report_count) == (0.7, 5)
    assert policy.signals.level1_thresholds.tolist() == [np.float32(0.4)] * len(taxonomy.level1)
    assert (policy.signals.level2_thresholds > 1.0).all()
    saved = make_head(len(taxonomy.level1), len(taxonomy.level2), history_weight=0.3)
    for name in saved.__slots__:
        assert np.array_equal(getattr(policy.signals.head, name), getattr(saved, name))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["policy.json", "signals.npz"]


@pytest.mark.parametrize("later", ["content_top", "entropy_slope"])
def test_a_head_of_before_a_number_was_learnt_is_read_as_one_that_does_without(
    tmp_path: Path, taxonomy: Taxonomy, later: str
) -> None:
    path = write(tmp_path, taxonomy).with_name("signals.npz")
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != later}
    np.savez(path, allow_pickle=False, **arrays)
    assert getattr(load_signal_head(path, taxonomy), later) == 0.0


def test_equal_heads_are_equal_files_and_another_head_another_policy(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = write(tmp_path, taxonomy)
    first, identity = path.with_name("signals.npz").read_bytes(), policy_identity(path)
    write(tmp_path, taxonomy)
    assert path.with_name("signals.npz").read_bytes() == first
    head = make_head(len(taxonomy.level1), len(taxonomy.level2), history_weight=0.4)
    save_signal_head(path.with_name("signals.npz"), head, taxonomy)
    assert policy_identity(path) != identity


@pytest.mark.parametrize(("rules", "head", "says"), [(True, False, "needs signals.npz"), (False, True, "no rules for")])
def test_rules_and_head_come_together_or_not_at_all(
    tmp_path: Path, taxonomy: Taxonomy, rules: bool, head: bool, says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        load_policy(write(tmp_path, taxonomy, rules=rules, head=head), taxonomy)
    assert "train-signals" in (caught.value.remedy or "")


def test_rules_name_every_category(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = write(tmp_path, taxonomy)
    path.write_text(path.read_text().replace('"margin": 0.7', '"margin": 0.0'))
    with pytest.raises(UserError, match=r"signals\.margin"):
        load_policy(path, taxonomy)
    rules = SignalRulesFile(margin=1.0, level1_thresholds={}, level2_thresholds={})
    save_policy(path, policy_file(taxonomy).model_copy(update={"signals": rules}))
    with pytest.raises(UserError, match=r"no threshold for .* in signals\.level1_thresholds"):
        load_policy(path, taxonomy)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"taxonomy_id": np.array("tx-other")}, "is for taxonomy tx-other"),
        ({"format": np.array(2)}, "format 1"),
        ({"format": np.array(["one", "two"])}, "format 1"),
        ({"base": None}, "has no base"),
        ({"base": np.zeros(1)}, "base has a wrong shape"),
        ({"history_weight": np.array(-1.0)}, "history_weight has a wrong shape or value"),
        ({"audience_pseudo": np.array(0.0)}, "audience_pseudo"),
        ({"comments_bound": np.array(np.nan)}, "comments_bound is not made of finite numbers"),
        ({"comment_grams": np.zeros((8, 3), np.float16)}, "comment_grams has a wrong shape"),
        ({"content": np.array("one")}, "content is not made of finite numbers"),
        ({"base": np.array([object()], dtype=object)}, "is not a signal head"),
    ],
)
def test_a_broken_head_is_named_in_one_sentence(
    tmp_path: Path, taxonomy: Taxonomy, changes: dict[str, Any], says: str
) -> None:
    path = write(tmp_path, taxonomy).with_name("signals.npz")
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files} | changes
    np.savez(path, allow_pickle=True, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=says) as caught:
        load_signal_head(path, taxonomy)
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def _cut() -> bytes:
    whole = io.BytesIO()
    np.savez(whole, base=np.zeros(100))
    return whole.getvalue()[:-40]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04.", b"words", _cut()])
def test_a_file_that_is_no_head_is_refused(tmp_path: Path, taxonomy: Taxonomy, content: bytes) -> None:
    path = tmp_path / "signals.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is not a signal head|cannot be read"):
        load_signal_head(path, taxonomy)


def test_a_lone_array_is_no_head(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = tmp_path / "signals.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="is not a signal head"):
        load_signal_head(path, taxonomy)


def test_a_missing_head_is_refused(tmp_path: Path, taxonomy: Taxonomy) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_signal_head(tmp_path / "signals.npz", taxonomy)
