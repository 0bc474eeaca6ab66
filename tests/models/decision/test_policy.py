from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.decision.policy import PolicyFile, Temperatures, load_policy, policy_identity, save_policy
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy, default_taxonomy


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return default_taxonomy().subset([category.id for category in default_taxonomy().level2[:4]])


def policy_file(taxonomy: Taxonomy) -> PolicyFile:
    return PolicyFile(
        taxonomy_id=taxonomy.id,
        temperature=Temperatures(level1=1.5, level2=0.75),
        class_scales={taxonomy.level2[1].id: 2.0},
        level1_thresholds={category.id: 0.25 for category in taxonomy.level1},
        level2_thresholds={c.id: None if place == 0 else 0.5 for place, c in enumerate(taxonomy.level2)},
        min_margin=0.1,
        tail_classes=(taxonomy.level2[2].id,),
        audit_rate=0.02,
        target_risk=0.05,
        calibration={"items": 1200},
    )


def written(path: Path, taxonomy: Taxonomy, **changes: Any) -> Path:
    content = policy_file(taxonomy).model_dump(mode="json") | changes
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_what_calibration_saves_is_what_decisions_use(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = tmp_path / "policy.json"
    save_policy(path, policy_file(taxonomy))
    policy = load_policy(path, taxonomy)
    assert policy.parent.tolist() == taxonomy.parent_index
    assert policy.n_level1 == len(taxonomy.level1)
    assert (policy.temperature_level1, policy.temperature_level2) == (1.5, 0.75)
    np.testing.assert_allclose(np.exp(policy.log_class_scale), [1, 2, 1, 1], rtol=1e-6)
    assert policy.level2_thresholds[0] > 1
    assert policy.level2_thresholds[1:].tolist() == [0.5, 0.5, 0.5]
    assert policy.tail_classes == {2}
    assert policy.policy_id == policy_identity(path)
    assert [file.name for file in tmp_path.iterdir()] == ["policy.json"]


def test_the_policy_id_follows_content_not_layout(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = written(tmp_path / "policy.json", taxonomy)
    before = policy_identity(path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=8, sort_keys=True))
    assert policy_identity(path) == before
    assert policy_identity(written(path, taxonomy, audit_rate=0.03)) != before


def test_the_policy_id_covers_the_signal_head(tmp_path: Path, taxonomy: Taxonomy) -> None:
    path = written(tmp_path / "policy.json", taxonomy)
    before = policy_identity(path)
    (tmp_path / "signals.npz").write_bytes(b"weights")
    assert policy_identity(path) != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taxonomy_id": "tx-other"}, "is for taxonomy tx-other"),
        ({"audit_rate": 1.5}, "audit_rate"),
        ({"temperature": {"level1": 0.0, "level2": 1.0}}, r"temperature\.level1"),
        ({"level2_thresholds": {}}, "has no threshold for"),
        ({"class_scales": {"no.such": 1.0}}, "names no.such in class_scales"),
        ({"tail_classes": ["no.such"]}, "names no.such in tail_classes"),
        ({"format": 2}, "format"),
        ({"treshold": 1}, "treshold"),
    ],
)
def test_a_broken_policy_is_named_in_one_sentence(
    tmp_path: Path, taxonomy: Taxonomy, changes: dict[str, Any], message: str
) -> None:
    path = written(tmp_path / "policy.json", taxonomy, **changes)
    with pytest.raises(UserError, match=message) as caught:
        load_policy(path, taxonomy)
    assert "\n" not in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{"])
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, taxonomy: Taxonomy, content: bytes) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not"):
        load_policy(path, taxonomy)


def test_a_missing_policy_is_refused(tmp_path: Path, taxonomy: Taxonomy) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_policy(tmp_path / "policy.json", taxonomy)
