"""A bundle that learns to heed signals, or forgets them: signals.npz, policy.json and the card change together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.bundle import Bundle
from models.decision.policy import PolicyFile, save_policy
from models.decision.signal_file import SIGNALS, save_signal_head
from models.training.card_signals import with_signals, without_signals
from models.training.dataset import load_split, read_manifest, rows_of
from models.training.decoded import Progress
from models.training.place import changed
from models.training.predict import Logits, joined_logits, predict
from models.training.signal_items import Comments, Item, comments_of, items_of
from models.training.signal_policy import Trained
from models.training.signals_file import read_signals
from models.training.subject import load_subject
from schemas.errors import UserError
from schemas.manifest import ManifestRow, Split

HELD_OUT: tuple[Split, ...] = ("validation", "calibration")


def read_policy_file(bundle: Path) -> PolicyFile:
    """policy.json as written; Bundle.load has checked it."""
    return PolicyFile.model_validate_json((bundle / "policy.json").read_bytes())


def read_items(
    bundle: Path, data: Path, *, threads: int, decoding: Progress, predicting: Progress
) -> tuple[list[Item], list[Comments]]:
    """The held-out videos of a dataset as the bundle sees them, and the comments of all its labelled ones but tests.

    Their authors' earlier videos count by their labels where they are training videos. Raises UserError where the
    dataset has no signals or no labelled held-out video.
    """
    model = load_subject(bundle, threads=threads)
    signals = read_signals(data)
    rows = read_manifest(data)
    held: list[tuple[list[ManifestRow], Logits, list[int]]] = []
    for split in HELD_OUT:
        if any(row.split == split and row.label is not None for row in rows):
            examples = load_split(data, split, model.spec, progress=decoding)
            (logits,) = predict(model.runtime, examples, progress=predicting)
            held.append((rows_of(rows, split), logits, examples.targets.tolist()))
    if not held:
        raise UserError(
            f"{data} has no labelled video in its {' or '.join(HELD_OUT)} split",
            "make one that has: the encoder must not have learnt from them",
        )
    items = items_of(
        [row for each, _, _ in held for row in each],
        joined_logits([logits for _, logits, _ in held]),
        [target for _, _, targets in held for target in targets],
        [row for row in rows if row.split == "train"],
        signals,
        model.taxonomy,
        model.policy(),
    )
    return items, comments_of([row for row in rows if row.split in ("train", *HELD_OUT)], signals, model.taxonomy)


def comments_in(items: Sequence[Item]) -> list[Comments]:
    """The newest comments of the items."""
    return [
        Comments(item.video_id, item.target, item.engagements[-1].top_comments) for item in items if item.engagements
    ]


def write_signals(bundle: Path, out: Path, trained: Trained) -> Bundle:
    """The bundle with the head and its rules, at `out`, whole or not at all. Returns what was written."""
    taxonomy = Bundle.load(bundle).taxonomy
    with changed(bundle, out) as folder:
        save_signal_head(folder / SIGNALS, trained.head, taxonomy)
        save_policy(folder / "policy.json", trained.policy)
        card = folder / "CARD.md"
        card.write_text(with_signals(card.read_text(encoding="utf-8"), trained.policy), encoding="utf-8")
        Bundle.load(folder)  # whoever gets it will
    return Bundle.load(out)


def forget_signals(folder: Path, policy: PolicyFile) -> None:
    """Leave a bundle's folder with `policy` alone to decide by content."""
    (folder / SIGNALS).unlink()
    save_policy(folder / "policy.json", policy)
    card = folder / "CARD.md"
    card.write_text(without_signals(card.read_text(encoding="utf-8")), encoding="utf-8")
