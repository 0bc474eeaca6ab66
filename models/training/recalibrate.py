"""A policy in the place of an older one: of a run, or of a bundle together with its card and what rested on it."""

from __future__ import annotations

from pathlib import Path

from models.bundle import Bundle
from models.decision.policy import PolicyFile, save_policy
from models.decision.signal_file import SIGNALS
from models.training.card import recalibrated
from models.training.place import changed
from models.training.signal_bundle import forget_signals


def write_policy(subject: Path, policy: PolicyFile) -> bool:
    """Into a run's folder or a bundle's, the latter whole or not at all.

    Returns whether a bundle forgot its signals: their thresholds rested on the temperatures before.
    """
    if not (subject / "bundle.json").is_file():
        save_policy(subject / "policy.json", policy)
        return False
    with changed(subject, subject) as folder:
        forgets = (folder / SIGNALS).is_file()
        if forgets:
            forget_signals(folder, policy)
        else:
            save_policy(folder / "policy.json", policy)
        card = folder / "CARD.md"
        if card.is_file():
            card.write_text(recalibrated(card.read_text(encoding="utf-8"), policy), encoding="utf-8")
        Bundle.load(folder)  # whoever gets it will
    return forgets
