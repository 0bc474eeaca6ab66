"""The loss over both levels, on the very probabilities that decisions are made from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def joint_log_probabilities(level1_logits: Tensor, level2_logits: Tensor, parent: Tensor) -> Tensor:
    """[B, C2]: log-softmax of each level-2 logit plus its parent's, as models/decision/probabilities.py has it."""
    return functional.log_softmax(level2_logits + level1_logits[:, parent], dim=-1)


def level1_log_probabilities(joint: Tensor, parent: Tensor, n_level1: int) -> Tensor:
    """[B, C1]: log of the sum over each level-1 class's children. joint: [B, C2] log-probabilities."""
    total = torch.zeros(joint.shape[0], n_level1, device=joint.device, dtype=joint.dtype)
    return total.index_add(1, parent, joint.exp()).clamp(min=torch.finfo(joint.dtype).tiny).log()


def smoothed_nll(log_probabilities: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy against 1 - smoothing on the target, smoothing / C on every class (Szegedy et al. 2016)."""
    hit = log_probabilities.gather(1, target[:, None]).squeeze(1)
    return -((1.0 - smoothing) * hit + smoothing * log_probabilities.mean(1)).mean()


def soft_nll(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy against probabilities, target: [B, C]."""
    return -(target * log_probabilities).sum(1).mean()


def hierarchical_loss(
    level1_logits: Tensor,
    level2_logits: Tensor,
    target: Tensor,
    parent: Tensor,
    *,
    smoothing: float,
    level1_weight: float,
) -> Tensor:
    """Level-2 loss plus `level1_weight` times the level-1 loss. target: [B] level-2 classes; parent: [C2]."""
    joint = joint_log_probabilities(level1_logits, level2_logits, parent)
    level1 = level1_log_probabilities(joint, parent, level1_logits.shape[1])
    loss = smoothed_nll(joint, target, smoothing)
    return loss + level1_weight * smoothed_nll(level1, parent[target], smoothing)


def distillation_loss(
    level1_logits: Tensor, level2_logits: Tensor, teacher: Tensor, parent: Tensor, *, level1_weight: float
) -> Tensor:
    """hierarchical_loss() against a teacher's joint log-probabilities [B, C2] instead of classes.

    Cross-entropy is linear in its target: `share` of this plus 1 - share of hierarchical_loss() is the loss against the
    mixed target, as Li et al. 2021 (ALBEF, section 3.3) mix theirs, but for the teacher's entropy, a constant.
    """
    n_level1 = level1_logits.shape[1]
    joint = joint_log_probabilities(level1_logits, level2_logits, parent)
    level1 = level1_log_probabilities(joint, parent, n_level1)
    of_level1 = level1_log_probabilities(teacher, parent, n_level1).exp()
    return soft_nll(joint, teacher.exp()) + level1_weight * soft_nll(level1, of_level1)
