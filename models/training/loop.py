"""AdamW, cosine with warm-up, one checkpoint an epoch.

Killed at any point, training goes on from the last whole epoch and ends with the weights that it would have had anyway:
every random choice of an epoch comes from (seed, epoch).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.architectures.base import Architecture
from models.training.augment import shifted, without_modalities, without_tokens
from models.training.dataset import Batch, Examples
from models.training.losses import distillation_loss, hierarchical_loss, joint_log_probabilities
from models.training.model_runtime import ModelRuntime
from models.training.predict import predict
from models.training.recipe import Recipe
from models.training.weights import damaged

_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's figures. accuracy is level 2's on the validation split."""

    number: int  # from 1
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who wants to know: called after each step with (done, all) and after each epoch."""

    step: Callable[[int, int], None]
    epoch: Callable[[Epoch], None]


def fit(
    model: Architecture,
    train: Examples,
    validation: Examples,
    parent: list[int],
    recipe: Recipe,
    *,
    seed: int,
    checkpoint: Path,
    watcher: Watcher,
) -> list[Epoch]:
    """Train `model` in place and return the figures of every epoch, those before an interruption too."""
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate)
    teacher = momentum_teacher(model, recipe)
    history = _resume(checkpoint, model, optimizer, teacher) if checkpoint.exists() else []
    parents = torch.tensor(parent)
    steps = math.ceil(len(train) / recipe.batch)
    videos = np.unique(train.video_ids, return_inverse=True)[1]  # [N], equal where it is the same video
    for number in range(len(history) + 1, recipe.epochs + 1):
        began = time.monotonic()
        losses = []
        torch.manual_seed(seed * 1_000_003 + number)
        model.train()
        for place, (batch, index) in enumerate(training_batches(train, recipe, seed=seed, epoch=number)):
            done = (number - 1) * steps + place
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(done, steps * recipe.epochs, recipe)
            share = distillation_share(done, steps, recipe)
            losses.append(
                train_step(
                    model, optimizer, batch, train.targets[index], parents, recipe,
                    items=videos[index], teacher=teacher, teacher_share=share,
                )
            )  # fmt: skip
            watcher.step(done + 1, steps * recipe.epochs)
        epoch = Epoch(
            number=number,
            loss=sum(losses) / len(losses),
            accuracy=level2_accuracy(model, validation, parents),
            seconds=time.monotonic() - began,
        )
        history.append(epoch)
        _save(checkpoint, model, optimizer, teacher, history)
        watcher.epoch(epoch)
    return history


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices of layers decay; biases, norms, and tables of positions, kinds and cluster centres do not."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim > 1 and name.endswith("weight") else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """Linear from 0 over the warm-up, then half a cosine down to 0."""
    warm_up = recipe.warm_up * steps
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / (warm_up + 1)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def momentum_teacher(model: Architecture, recipe: Recipe) -> AveragedModel | None:
    """The exponential moving average of the model that a recipe distils from, in evaluation mode."""
    if not recipe.momentum_distillation:
        return None
    teacher = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.momentum))  # type: ignore[no-untyped-call]
    teacher.requires_grad_(False).eval()
    return teacher


def distillation_share(step: int, steps_of_epoch: int, recipe: Recipe) -> float:
    """Rises over the first epoch, before whose end a teacher has nothing to say (Li et al. 2021, section 3.5)."""
    return recipe.momentum_distillation * min(1.0, step / steps_of_epoch)


def class_weights(targets: NDArray[np.int64], balance: float) -> NDArray[np.float64]:
    """[N], sums to 1: the chance of each item to be drawn, where a class of n items has a weight of n^(1 - balance)."""
    weights = np.bincount(targets)[targets].astype(np.float64) ** -balance
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def training_batches(
    examples: Examples, recipe: Recipe, *, seed: int, epoch: int
) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
    """One epoch: as many draws as there are items, augmented, each with its place among the examples.

    Depends on nothing but its arguments.
    """
    random = np.random.default_rng([seed, epoch])
    if recipe.balance:
        order = random.choice(len(examples), len(examples), p=class_weights(examples.targets, recipe.balance))
    else:
        order = random.permutation(len(examples))
    for start in range(0, len(order), recipe.batch):
        index = order[start : start + recipe.batch]
        offsets = random.integers(-recipe.shift, recipe.shift + 1, (len(index), 2))
        batch = examples.batch(index, partial(shifted, offsets=offsets))
        batch = without_modalities(batch, recipe.modality_dropout, random)
        yield without_tokens(batch, recipe.token_dropout, examples.special, random), index


def train_step(
    model: Architecture,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    target: NDArray[np.int64],
    parent: Tensor,
    recipe: Recipe,
    *,
    items: NDArray[np.int64] | None = None,
    teacher: AveragedModel | None = None,
    teacher_share: float = 0.0,
) -> float:
    """One step, of the teacher too; returns the loss before it. items: [B], equal where two rows are draws of one
    video; without, every row is another."""
    inputs = [torch.from_numpy(array) for array in batch.arrays()]
    drawn = np.arange(len(target)) if items is None else items
    answers, loss = model.training_answers(*inputs, items=torch.from_numpy(drawn))
    for level1, level2, _ in answers:
        loss = loss + (1.0 - teacher_share) * hierarchical_loss(
            level1,
            level2,
            torch.from_numpy(target),
            parent,
            smoothing=recipe.label_smoothing,
            level1_weight=recipe.level1_weight,
        )
    if teacher is not None and teacher_share:
        with torch.no_grad():
            level1, level2, _ = teacher(*inputs)
            taught = joint_log_probabilities(level1, level2, parent)
        for level1, level2, _ in answers:
            loss = loss + teacher_share * distillation_loss(
                level1, level2, taught, parent, level1_weight=recipe.level1_weight
            )
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_NORM)
    optimizer.step()
    if teacher is not None:
        teacher.update_parameters(model)
    return float(loss.detach())


def level2_accuracy(model: Architecture, examples: Examples, parent: Tensor) -> float:
    """Share of examples whose most probable level-2 class is their label."""
    (logits,) = predict(ModelRuntime(model), examples)
    joint = joint_log_probabilities(torch.from_numpy(logits.level1), torch.from_numpy(logits.level2), parent)
    return float((joint.argmax(1).numpy() == examples.targets).mean())


def _save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    teacher: AveragedModel | None,
    history: list[Epoch],
) -> None:
    """Weights, the teacher's too, and the optimizer's moments under one name, whole or not at all."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if teacher is not None:
        tensors |= {f"teacher.{name}": tensor for name, tensor in teacher.state_dict().items()}
    for place, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in state.items()}
    partial_path = path.with_suffix(".partial")
    metadata = {"history": json.dumps([asdict(epoch) for epoch in history])}
    partial_path.write_bytes(safetensors.torch.save(tensors, metadata))
    partial_path.replace(path)


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, teacher: AveragedModel | None
) -> list[Epoch]:
    """What _save() kept, into all three. Raises UserError where the file is damaged."""
    try:
        return _read(path, model, optimizer, teacher)
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error, "delete it: the training begins anew") from error


def _read(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, teacher: AveragedModel | None) -> list[Epoch]:
    state: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, dict[str, Tensor]] = {"model": {}, "teacher": {}}
    with safetensors.safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            owner, _, rest = name.partition(".")
            if owner in weights:
                weights[owner][rest] = file.get_tensor(name)
            else:
                place, _, moment = rest.partition(".")
                state.setdefault(int(place), {})[moment] = file.get_tensor(name)
        history = json.loads(file.metadata()["history"])
    model.load_state_dict(weights["model"])
    if teacher is not None:
        teacher.load_state_dict(weights["teacher"])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return [Epoch(**epoch) for epoch in history]
