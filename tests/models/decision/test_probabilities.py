from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decision.probabilities import hierarchical
from models.decision.types import Policy
from tests.models.decision.cases import logits, make_policy, policies


@st.composite
def batches(draw: st.DrawFn) -> tuple[Policy, np.ndarray, np.ndarray]:
    policy = draw(policies())
    rows = draw(st.integers(1, 4))
    level1 = np.stack([draw(logits(policy.n_level1)) for _ in range(rows)])
    level2 = np.stack([draw(logits(len(policy.parent))) for _ in range(rows)])
    return policy, level1, level2


@given(batches())
def test_level1_is_the_sum_of_its_children_and_both_levels_sum_to_one(
    batch: tuple[Policy, np.ndarray, np.ndarray],
) -> None:
    policy, z1, z2 = batch
    p = hierarchical(z1, z2, policy)
    for c in range(policy.n_level1):
        np.testing.assert_allclose(p.level1[:, c], p.level2[:, policy.parent == c].sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(p.level1.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(p.level2.sum(axis=1), 1.0, atol=1e-12)


@given(batches())
def test_probabilities_follow_the_formula(batch: tuple[Policy, np.ndarray, np.ndarray]) -> None:
    policy, z1, z2 = batch
    p = hierarchical(z1, z2, policy).level2
    for b in range(len(z1)):
        energy = [
            float(z2[b, j]) / policy.temperature_level2
            + float(z1[b, policy.parent[j]]) / policy.temperature_level1
            + float(policy.log_class_scale[j])
            for j in range(len(policy.parent))
        ]
        weights = np.exp(np.array(energy) - max(energy))
        np.testing.assert_allclose(p[b], weights / weights.sum(), rtol=1e-6, atol=1e-12)


@given(batches())
def test_a_row_does_not_depend_on_its_neighbours(batch: tuple[Policy, np.ndarray, np.ndarray]) -> None:
    policy, z1, z2 = batch
    together = hierarchical(z1, z2, policy)
    for b in range(len(z1)):
        single = hierarchical(z1[b : b + 1], z2[b : b + 1], policy)
        assert (single.level2[0] == together.level2[b]).all()
        assert (single.level1[0] == together.level1[b]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("level", [1, 2])
def test_logits_that_are_not_numbers_are_refused(bad: float, level: int) -> None:
    z1, z2 = np.zeros((2, 2)), np.zeros((2, 3))
    (z1 if level == 1 else z2)[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        hierarchical(z1, z2, make_policy([0, 0, 1]))


def test_logits_of_another_taxonomy_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit 2 and 3 classes"):
        hierarchical(np.zeros((1, 2)), np.zeros((1, 4)), make_policy([0, 0, 1]))


def test_huge_logits_do_not_overflow() -> None:
    p = hierarchical([[3e38, 0.0]], [[3e38, 0.0, 0.0]], make_policy([0, 0, 1]))
    assert p.level2[0].tolist() == [1.0, 0.0, 0.0]
