"""A run: the folder that a training leaves, and all that calibration, evaluation and export need of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.architectures import build
from models.architectures.base import Architecture, inputs_of
from models.preprocess.prepare import text_encoder
from models.preprocess.text import TextEncoder, train_tokenizer
from models.training import published
from models.training.dataset import InputSpec, fields_of, load_split, read_manifest, rows_of
from models.training.decoded import Progress
from models.training.loop import Watcher, fit
from models.training.probes import choose_probes, save_probes
from models.training.recipe import Recipe
from models.training.weights import check_exportable, load_weights, save_weights
from schemas.errors import UserError
from schemas.manifest import MANIFEST, ManifestRow
from schemas.taxonomy import Taxonomy, default_taxonomy, load_taxonomy

RUN_FILE = "run.json"
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "model.safetensors"


class RunManifest(BaseModel):
    """run.json: what was trained, on what. data is the SHA-256 of the dataset's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe
    architecture_config: dict[str, Any]
    seed: int
    data: str
    taxonomy_id: str
    class_counts: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run's folder, read."""

    folder: Path
    manifest: RunManifest
    taxonomy: Taxonomy
    text: TextEncoder

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def probes(self) -> Path:
        return self.folder / "probes.npz"

    @property
    def policy(self) -> Path:
        return self.folder / "policy.json"

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Raises UserError where the folder is not a run, or its training has not ended."""
        try:
            manifest = RunManifest.model_validate_json((folder / RUN_FILE).read_bytes())
        except OSError as error:
            raise UserError(
                f"{folder} is not a training run: {error.strerror}", "make one with `reelsort train`"
            ) from error
        except ValidationError as error:
            raise UserError(f"{folder / RUN_FILE} is not what this version writes", "train again") from error
        recipe = manifest.recipe
        return cls(folder, manifest, load_taxonomy(folder / "taxonomy.json"), text_encoder(folder, recipe.text))

    def model(self) -> Architecture:
        """The trained model, in evaluation mode."""
        if not self.weights.is_file():
            raise UserError(f"the training in {self.folder} has not ended", "run `reelsort train` again: it goes on")
        model = build(self.manifest.recipe.architecture, self.manifest.architecture_config)
        load_weights(model, self.weights)
        return model.eval()

    @property
    def spec(self) -> InputSpec:
        recipe = self.manifest.recipe
        return InputSpec(recipe.frame_plan, recipe.audio_plan, recipe.pixels, self.text, self.taxonomy)


@dataclass(frozen=True, slots=True)
class Progresses:
    """Who watches a training: decoding, then steps and epochs."""

    decoding: Progress
    training: Watcher


def train(data: Path, folder: Path, recipe: Recipe, *, seed: int, progresses: Progresses) -> Run:
    """Train from a dataset's train split, or go on with an interrupted training of the same data, recipe and seed.

    Raises UserError where `folder` holds another run, or what is asked for could not be exported.
    """
    rows = read_manifest(data)
    run = _begin(folder, rows, data, recipe, seed)
    examples, validation = (
        load_split(data, split, run.spec, progress=progresses.decoding) for split in ("train", "validation")
    )
    torch.manual_seed(seed)
    model = build(recipe.architecture, run.manifest.architecture_config)
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        published.load(model, recipe)
    fit(
        model,
        examples,
        validation,
        run.taxonomy.parent_index,
        recipe,
        seed=seed,
        checkpoint=checkpoint,
        watcher=progresses.training,
    )
    save_probes(choose_probes(validation), run.probes)
    save_weights(model, run.weights)
    return run


def _begin(folder: Path, rows: list[ManifestRow], data: Path, recipe: Recipe, seed: int) -> Run:
    """The run's folder with everything but weights; an existing one is checked and kept.

    The model answers every category that any split is labelled with, in training or not.
    """
    trained_on = rows_of(rows, "train")
    counts = Counter(row.label for row in trained_on)
    taxonomy = default_taxonomy().subset({row.label for row in rows if row.label is not None})
    recipe, tokenizer = published.resolve(recipe)
    tokenizer = tokenizer or train_tokenizer(
        _texts(trained_on, recipe), min_count=recipe.min_character_count, tokens=recipe.text.tokens
    )
    text = TextEncoder(recipe.text, tokenizer)
    manifest = RunManifest(
        recipe=recipe,
        architecture_config=recipe.options
        | inputs_of(
            recipe.inputs,
            parent=tuple(taxonomy.parent_index),
            n_level1=len(taxonomy.level1),
            vocab=1 + max(tokenizer.get_vocab().values()),
            separator=text.special.end,
        ),
        seed=seed,
        data=hashlib.sha256((data / MANIFEST).read_bytes()).hexdigest(),
        taxonomy_id=taxonomy.id,
        class_counts={category.id: counts[category.id] for category in taxonomy.level2},
    )
    with torch.device("meta"):
        check_exportable(build(recipe.architecture, manifest.architecture_config))
    if any((folder / begun).exists() for begun in (CHECKPOINT, WEIGHTS)):
        written, asked = (each.model_dump(mode="json") for each in (Run.load(folder).manifest, manifest))
        if written != asked:
            raise UserError(f"{folder} holds another training run", "name another folder with --out, or delete it")
    else:
        try:
            (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be made: {error.strerror}", "name another folder with --out") from error
        tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
        (folder / "taxonomy.json").write_text(taxonomy.to_json(), encoding="utf-8")
        # last: a folder with run.json is complete
        (folder / RUN_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Run.load(folder)


def _texts(rows: list[ManifestRow], recipe: Recipe) -> list[str]:
    return [fields_of(row).field(name) for row in rows for name in recipe.text.fields]
