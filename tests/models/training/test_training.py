"""Learning, stopping and going on."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.architectures import build
from models.architectures.base import Architecture
from models.layers.heads import Answers
from models.preprocess.text import SpecialIds
from models.training.augment import shifted, without_modalities, without_tokens
from models.training.dataset import Batch, load_split, read_manifest
from models.training.loop import (
    Epoch,
    class_weights,
    distillation_share,
    learning_rate,
    momentum_teacher,
    parameter_groups,
    train_step,
    training_batches,
)
from models.training.model_runtime import ModelRuntime
from models.training.predict import predict
from models.training.probes import load_probes
from models.training.recipe import Recipe, load_recipe
from models.training.run import Progresses, Run, train
from schemas.errors import UserError
from tests.support.bundles import preset_model


class Killed(Exception):
    """Stands for a process that ends at this very point."""


@pytest.fixture(scope="module")
def trained(dataset: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(dataset, tmp_path_factory.mktemp("trained") / "run", recipe, seed=3, progresses=_watching([]))


def _watching(epochs: list[Epoch], end_after: int | None = None) -> Progresses:
    from models.training.loop import Watcher

    def epoch(done: Epoch) -> None:
        epochs.append(done)
        if done.number == end_after:
            raise Killed

    return Progresses(decoding=lambda done, total: None, training=Watcher(lambda done, total: None, epoch))


def test_a_dataset_of_words_alone_is_trained_on(dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    rows = [row.model_copy(update={"path": ""}) for row in read_manifest(dataset)]
    data = tmp_path / "data"
    data.mkdir()
    (data / "manifest.jsonl").write_text("\n".join(row.model_dump_json() for row in rows), encoding="utf-8")
    run = train(data, tmp_path / "run", recipe, seed=3, progresses=_watching([]))
    examples = load_split(data, "test", run.spec)
    (logits,) = predict(ModelRuntime(run.model()), examples)
    assert np.isfinite(logits.level2).all()
    assert len(np.unique(logits.level2.round(4), axis=0)) > 1  # it reads
    probes = load_probes(run.probes)  # what its graphs will be exported with: lengths of one would be fixed for good
    assert probes.audio.shape[1] == examples.clips.audio.shape[1] > 1
    assert probes.input_ids.shape[1] == max(run.text.template.length_buckets)


def test_a_batch_can_be_learnt_by_heart(trained: Run, dataset: Path) -> None:
    examples = load_split(dataset, "train", trained.spec)
    recipe = trained.manifest.recipe.model_copy(update={"label_smoothing": 0.0})
    config = trained.manifest.architecture_config | {"dropout": 0.0}
    torch.manual_seed(0)
    model = build(recipe.architecture, config).train()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=5e-3)
    index = np.arange(12)
    batch, target = examples.batch(index), examples.targets[index]
    parent = torch.tensor(trained.taxonomy.parent_index)
    losses = [train_step(model, optimizer, batch, target, parent, recipe) for _ in range(40)]
    assert losses[0] > 2.0
    assert losses[-1] < 0.2


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    trained: Run, dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    epochs: list[Epoch] = []
    with pytest.raises(Killed):
        train(dataset, tmp_path / "run", recipe, seed=3, progresses=_watching(epochs, end_after=1))
    with pytest.raises(UserError, match="has not ended"):
        Run.load(tmp_path / "run").model()
    resumed = train(dataset, tmp_path / "run", recipe, seed=3, progresses=_watching(epochs))
    assert [epoch.number for epoch in epochs] == [1, 2]
    assert resumed.weights.read_bytes() == trained.weights.read_bytes()


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"no checkpoint"])
def test_a_damaged_checkpoint_is_a_sentence(
    dataset: Path, recipe: Recipe, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(dataset, run, recipe, seed=3, progresses=_watching([], end_after=1))
    checkpoint = run / "checkpoint.safetensors"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(UserError, match=r"checkpoint.safetensors is damaged: "):
        train(dataset, run, recipe, seed=3, progresses=_watching([]))
    checkpoint.unlink()  # as it says
    assert train(dataset, run, recipe, seed=3, progresses=_watching([])).weights.is_file()


def test_damaged_weights_are_a_sentence(trained: Run, tmp_path: Path) -> None:
    run = Run.load(Path(shutil.copytree(trained.folder, tmp_path / "run")))
    run.weights.write_bytes(run.weights.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"model.safetensors is damaged: "):
        run.model()


def test_a_killed_distillation_goes_on_with_its_teacher(
    trained: Run, dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    distilling = recipe.model_copy(update={"momentum_distillation": 0.8, "momentum": 0.5})
    whole = train(dataset, tmp_path / "whole", distilling, seed=3, progresses=_watching([]))
    with pytest.raises(Killed):
        train(dataset, tmp_path / "run", distilling, seed=3, progresses=_watching([], end_after=1))
    resumed = train(dataset, tmp_path / "run", distilling, seed=3, progresses=_watching([]))
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    assert resumed.weights.read_bytes() != trained.weights.read_bytes()


def test_the_teacher_is_the_moving_average_of_the_weights_after_each_step(
    trained: Run, dataset: Path, recipe: Recipe
) -> None:
    recipe = recipe.model_copy(update={"momentum_distillation": 0.5, "momentum": 0.7})
    examples = load_split(dataset, "train", trained.spec)
    torch.manual_seed(0)
    model = build(recipe.architecture, trained.manifest.architecture_config).train()
    teacher = momentum_teacher(model, recipe)
    assert teacher is not None
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=1e-2)
    parent = torch.tensor(trained.taxonomy.parent_index)
    passed = []
    for start in (0, 8, 16, 24):
        index = np.arange(start, start + 8)
        train_step(
            model, optimizer, examples.batch(index), examples.targets[index], parent, recipe,
            teacher=teacher, teacher_share=0.5,
        )  # fmt: skip
        passed.append([parameter.detach().clone() for parameter in model.parameters()])
    # w_1 0.7^3 + 0.3 (w_2 0.7^2 + w_3 0.7 + w_4): the average begins at the first weights
    shares = [0.7**3, 0.3 * 0.7**2, 0.3 * 0.7, 0.3]
    for place, average in enumerate(teacher.module.parameters()):
        expected = sum(share * weights[place] for share, weights in zip(shares, passed, strict=True))
        torch.testing.assert_close(average, expected, atol=1e-6, rtol=1e-5)
    assert not any(part.training for part in teacher.modules())
    assert all(part.training for part in model.modules())


def test_distillation_rises_over_the_first_epoch_and_stays(recipe: Recipe) -> None:
    distilling = recipe.model_copy(update={"momentum_distillation": 0.4})
    shares = [distillation_share(step, 10, distilling) for step in range(30)]
    np.testing.assert_allclose(shares[:11], np.linspace(0.0, 0.4, 11))
    assert shares[10:] == [0.4] * 20
    assert momentum_teacher(torch.nn.Linear(1, 1), recipe) is None  # type: ignore[arg-type]


def test_another_seed_is_another_model(trained: Run, dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds another training run"):
        train(dataset, trained.folder, recipe, seed=4, progresses=_watching([]))
    other = train(dataset, tmp_path / "run", recipe, seed=4, progresses=_watching([]))
    assert other.weights.read_bytes() != trained.weights.read_bytes()


def test_an_epoch_depends_on_seed_and_number_alone(trained: Run, dataset: Path) -> None:
    examples = load_split(dataset, "train", trained.spec)
    recipe = trained.manifest.recipe

    def targets(seed: int, epoch: int) -> list[int]:
        batches = training_batches(examples, recipe, seed=seed, epoch=epoch)
        return [target for _, index in batches for target in examples.targets[index].tolist()]

    assert targets(1, 1) == targets(1, 1)
    assert targets(1, 1) != targets(1, 2)
    assert targets(1, 1) != targets(2, 1)


def test_draws_of_one_video_are_told_to_the_model(
    dataset: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Balance draws with repetition: an objective that holds rows against each other has to know them."""
    told: list[list[int]] = []
    plain = Architecture.training_answers

    def listening(self: Architecture, *inputs: torch.Tensor, items: torch.Tensor) -> tuple[list[Answers], torch.Tensor]:
        told.append(items.tolist())
        return plain(self, *inputs, items=items)

    monkeypatch.setattr(Architecture, "training_answers", listening)
    short = recipe.model_copy(update={"epochs": 1, "balance": 1.0})
    run = train(dataset, tmp_path / "run", short, seed=3, progresses=_watching([]))
    examples = load_split(dataset, "train", run.spec)
    drawn = [index for _, index in training_batches(examples, short, seed=3, epoch=1)]
    assert any(len(set(each)) < len(each) for each in told)
    for items, index in zip(told, drawn, strict=True):
        ids = [examples.video_ids[place] for place in index]
        assert [items.index(each) for each in items] == [ids.index(each) for each in ids]


def test_the_learning_rate_rises_once_and_falls_to_nothing(recipe: Recipe) -> None:
    rates = [learning_rate(step, 200, recipe) for step in range(200)]
    peak = int(np.argmax(rates))
    assert peak == pytest.approx(recipe.warm_up * 200, abs=1)
    assert rates[peak] == pytest.approx(recipe.learning_rate, rel=1e-2)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0.0 < rates[-1] < 0.01 * recipe.learning_rate


@pytest.mark.parametrize(("balance", "of_the_rare_class"), [(0.0, 0.1), (0.5, 0.25), (1.0, 0.5)])
def test_balance_draws_a_class_of_n_items_with_a_weight_of_n_to_one_minus_balance(
    balance: float, of_the_rare_class: float
) -> None:
    targets = np.array([0] * 90 + [1] * 10)
    weights = class_weights(targets, balance)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[targets == 1].sum() == pytest.approx(of_the_rare_class)


def test_only_matrices_of_layers_decay() -> None:
    model = preset_model("feature_mix")
    decayed, free = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    decays = {id(parameter) for parameter in decayed["params"]}
    named = dict(model.named_parameters())
    for table in ("fusion.frames.times", "fusion.frames.places", "fusion.bottleneck.bottleneck", "fusion.modality"):
        assert id(named[table]) not in decays
    assert id(named["fusion.from_text.weight"]) in decays
    assert id(named["fusion.from_text.bias"]) not in decays
    assert all(parameter.ndim > 1 for parameter in decayed["params"])


def clips(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 2, 8, 8, 3), np.uint8)


def test_pictures_move_by_their_offset_and_repeat_their_edge() -> None:
    frames = clips(2)
    moved = shifted(frames, np.array([[0, 0], [2, -1]]))
    np.testing.assert_array_equal(moved[0], frames[0])
    np.testing.assert_array_equal(moved[1][:, 2:, :7], frames[1][:, :6, 1:])
    np.testing.assert_array_equal(moved[1][:, 0, 0], frames[1][:, 0, 1])


def _batch(count: int) -> Batch:
    def mask(length: int) -> NDArray[np.bool_]:
        return np.ones((count, length), np.bool_)

    return Batch(
        frames=np.zeros((count, 2, 3, 4, 4), np.float32),
        frame_mask=mask(2),
        audio=np.zeros((count, 5, 3), np.float32),
        audio_mask=mask(5),
        input_ids=np.tile(np.array([2, 7, 8, 9, 3, 3]), (count, 1)),
        text_mask=mask(6),
    )


def test_modalities_are_dropped_whole_at_their_rate_and_never_all() -> None:
    count = 4000
    dropped = without_modalities(_batch(count), 0.5, np.random.default_rng(0))
    kept = [mask.all(axis=1) for mask in (dropped.frame_mask, dropped.audio_mask, dropped.text_mask)]
    for mask, whole in zip((dropped.frame_mask, dropped.audio_mask, dropped.text_mask), kept, strict=True):
        assert (mask.any(axis=1) == whole).all()
        # all three fall with 1/8 and are then all kept: 1/2 + 1/8 are there, within five standard deviations
        assert whole.mean() == pytest.approx(0.625, abs=5 * math.sqrt(0.25 / count))
    assert np.any(kept, axis=0).all()


SPECIAL = SpecialIds(pad=0, unknown=1, start=2, end=3)


def test_dropped_characters_are_unknown_and_special_tokens_stay() -> None:
    given = _batch(2000)
    ids = without_tokens(given, 0.25, SPECIAL, np.random.default_rng(0)).input_ids
    assert (ids[:, [0, 4, 5]] == given.input_ids[:, [0, 4, 5]]).all()
    lost = ids[:, 1:4] == 1
    assert lost.mean() == pytest.approx(0.25, abs=5 * math.sqrt(0.25 / lost.size))
    assert (ids[:, 1:4][~lost] == given.input_ids[:, 1:4][~lost]).all()
    unchanged = without_tokens(given, 0.0, SPECIAL, np.random.default_rng(0))
    np.testing.assert_array_equal(unchanged.input_ids, replace(given).input_ids)


def test_recipes_are_found_changed_and_checked() -> None:
    assert load_recipe("dual_concat", "tiny", epochs=3).epochs == 3
    assert load_recipe("albef", "tiny").momentum_distillation == 0.4
    with pytest.raises(UserError, match="no preset huge"):
        load_recipe("dual_concat", "huge")
    with pytest.raises(UserError, match="learning_rate is wrong"):
        load_recipe("dual_concat", "tiny", learning_rate=-1.0)


def test_a_training_that_failed_before_it_began_leaves_its_folder_to_another(
    dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    rows = read_manifest(dataset)
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    lost = rows[0].model_copy(update={"path": "lost.mp4"})
    (data / "manifest.jsonl").write_text("\n".join(row.model_dump_json() for row in [lost, *rows[1:]]))
    with pytest.raises(UserError, match=r"lost.mp4 cannot be read"):
        train(data, run, recipe, seed=3, progresses=_watching([]))
    short = recipe.model_copy(update={"epochs": 1})
    assert train(dataset, run, short, seed=3, progresses=_watching([])).weights.is_file()
    with pytest.raises(UserError, match="holds another training run"):
        train(dataset, run, recipe, seed=3, progresses=_watching([]))


def test_what_could_not_be_exported_is_refused_before_anything_is_decoded(
    dataset: Path, recipe: Recipe, tmp_path: Path
) -> None:
    huge = recipe.model_copy(update={"options": recipe.options | {"width": 8192, "heads": 8, "layers": 3}})
    undecoded = Progresses(lambda done, total: pytest.fail("decoded"), _watching([]).training)
    with pytest.raises(UserError, match=r"the fusion graph would have \d+\.\d GB of weights; an ONNX file holds 2"):
        train(dataset, tmp_path / "run", huge, seed=3, progresses=undecoded)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(dataset: Path, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot be made"):
        train(dataset, tmp_path / "file" / "run", recipe, seed=3, progresses=_watching([]))
