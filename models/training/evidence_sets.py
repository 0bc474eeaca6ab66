"""The generated videos of `reelsort bench evidence`: a set to learn from, and others to be judged on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.bundle import Bundle
from models.decision.evidence import engagement_evidence
from models.synthetic.audience import wrong_class
from models.synthetic.design import Noise
from models.synthetic.make import DatasetOptions, make_dataset
from models.synthetic.sampling import draw_item
from models.synthetic.signals import brigaded_snapshot
from models.training.dataset import load_split, read_manifest, rows_of
from models.training.decoded import Progress
from models.training.evidence_bench import Judged
from models.training.predict import predict
from models.training.signal_items import items_of
from models.training.signals_file import read_signals
from models.training.subject import load_subject
from schemas.manifest import ManifestRow, Split

HEAD_SEED = 101
TEST_SEED = 110  # and the next ones
NOISE = Noise(ambiguous=0.5)
PAST = 1500  # earlier videos, of which people have said what they are, in the world of every set


def make_head_set(folder: Path, videos: int, progress: Callable[[int], None]) -> None:
    """Labelled earlier videos, and `videos` that the bundle's encoder has not learnt from."""
    counts: dict[Split, int] = {"train": PAST, "validation": 0, "calibration": videos, "test": 0, "unlabelled": 0}
    make_dataset(folder, DatasetOptions(HEAD_SEED, counts, NOISE), progress=progress)


def make_test_set(folder: Path, seed: int, videos: int, progress: Callable[[int], None]) -> None:
    """`videos` of the world of TEST_SEED + seed."""
    counts: dict[Split, int] = {"train": 0, "validation": 0, "calibration": 0, "test": videos, "unlabelled": 0}
    make_dataset(folder, DatasetOptions(TEST_SEED + seed, counts, NOISE), progress=progress)


def read_test_set(
    folder: Path, seed: int, bundle: Path, *, threads: int, decoding: Progress, predicting: Progress
) -> Judged:
    """The test videos as the bundle sees them, and what a brigade makes of each."""
    world = TEST_SEED + seed
    model = load_subject(bundle, threads=threads)
    taxonomy = Bundle.load(bundle).taxonomy
    examples = load_split(folder, "test", model.spec, progress=decoding)
    (logits,) = predict(model.runtime, examples, progress=predicting)
    rows = rows_of(read_manifest(folder), "test")
    items = items_of(
        rows, logits, examples.targets.tolist(), _past(world), read_signals(folder), taxonomy, model.policy()
    )
    level1 = [category.id for category in taxonomy.level1]
    attacks = [brigaded_snapshot(world, row) for row in rows]
    return Judged(
        seed=seed,
        items=items,
        ambiguous=[bool(row.factors["ambiguous"]) for row in rows],
        brigaded=[None if attack is None else engagement_evidence(attack, level1) for attack in attacks],
        named=[taxonomy.level2_index[wrong_class(world, row)] for row in rows],
    )


def _past(seed: int) -> list[ManifestRow]:
    """The training videos of a world, without their files: an author's history needs their labels alone."""
    items = (draw_item(seed, "train", index, NOISE) for index in range(PAST))
    return [
        ManifestRow(
            video_id=item.video_id,
            author_id=item.author_id,
            split="train",
            published_at=item.published_at,
            label=item.label,
        )
        for item in items
    ]
