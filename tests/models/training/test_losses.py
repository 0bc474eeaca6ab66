"""The loss, against its formulas and against what serving makes of the same logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.decision.policy import PolicyFile, resolve
from models.decision.probabilities import hierarchical
from models.training.losses import (
    distillation_loss,
    hierarchical_loss,
    joint_log_probabilities,
    level1_log_probabilities,
    smoothed_nll,
    soft_nll,
)
from tests.support.bundles import tiny_taxonomy

PARENT = torch.tensor(tiny_taxonomy().parent_index)
N_LEVEL1 = len(tiny_taxonomy().level1)


def logits() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return 3 * torch.randn(9, N_LEVEL1, generator=random), 3 * torch.randn(9, len(PARENT), generator=random)


def test_training_and_serving_make_the_same_probabilities_of_the_same_logits() -> None:
    level1, level2 = logits()
    taxonomy = tiny_taxonomy()
    policy = resolve(
        PolicyFile(
            taxonomy_id=taxonomy.id,
            level1_thresholds=dict.fromkeys((c.id for c in taxonomy.level1), None),
            level2_thresholds=dict.fromkeys((c.id for c in taxonomy.level2), None),
            audit_rate=0.0,
            target_risk=0.05,
        ),
        taxonomy,
        policy_id="test",
    )
    served = hierarchical(level1.numpy(), level2.numpy(), policy)
    joint = joint_log_probabilities(level1, level2, PARENT)
    np.testing.assert_allclose(joint.exp().numpy(), served.level2, atol=1e-6)
    np.testing.assert_allclose(
        level1_log_probabilities(joint, PARENT, N_LEVEL1).exp().numpy(), served.level1, atol=1e-6
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_is_torchs_own(smoothing: float) -> None:
    _, level2 = logits()
    target = torch.arange(9) % len(PARENT)
    ours = smoothed_nll(functional.log_softmax(level2, dim=-1), target, smoothing)
    assert ours.item() == pytest.approx(
        functional.cross_entropy(level2, target, label_smoothing=smoothing).item(), rel=1e-5
    )


def test_the_level_1_loss_is_weighted_beside_that_of_level_2() -> None:
    level1, level2 = logits()
    target = torch.arange(9) % len(PARENT)
    joint = joint_log_probabilities(level1, level2, PARENT)
    second = functional.nll_loss(joint, target)
    first = functional.nll_loss(level1_log_probabilities(joint, PARENT, N_LEVEL1), PARENT[target])
    both = hierarchical_loss(level1, level2, target, PARENT, smoothing=0.0, level1_weight=0.3)
    assert both.item() == pytest.approx((second + 0.3 * first).item(), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_shares_of_both_losses_are_the_loss_against_the_mixed_target(share: float) -> None:
    level1, level2 = logits()
    target = torch.arange(9) % len(PARENT)
    classes = functional.one_hot(target, len(PARENT)).float()
    teacher = torch.log_softmax(torch.randn(9, len(PARENT), generator=torch.Generator().manual_seed(1)), dim=1)
    of_classes = hierarchical_loss(level1, level2, target, PARENT, smoothing=0.0, level1_weight=0.3)
    of_teacher = distillation_loss(level1, level2, teacher, PARENT, level1_weight=0.3)
    mixed = (1 - share) * classes + share * teacher.exp()
    mixed_level1 = torch.zeros(9, N_LEVEL1).index_add(1, PARENT, mixed)
    joint = joint_log_probabilities(level1, level2, PARENT)
    expected = functional.cross_entropy(joint, mixed) + 0.3 * functional.cross_entropy(
        level1_log_probabilities(joint, PARENT, N_LEVEL1), mixed_level1
    )
    assert ((1 - share) * of_classes + share * of_teacher).item() == pytest.approx(expected.item(), rel=1e-5)
    assert soft_nll(joint, classes).item() == pytest.approx(smoothed_nll(joint, target, 0.0).item(), rel=1e-5)


def test_a_hopeless_level_1_class_has_a_finite_loss_and_gradient() -> None:
    level1 = torch.zeros(1, N_LEVEL1, requires_grad=True)
    level2 = torch.full((1, len(PARENT)), -500.0)
    level2[0, 0] = 500.0
    loss = hierarchical_loss(level1, level2, torch.tensor([len(PARENT) - 1]), PARENT, smoothing=0.1, level1_weight=1.0)
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert level1.grad is not None
    assert torch.isfinite(level1.grad).all()
