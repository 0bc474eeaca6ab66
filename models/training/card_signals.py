"""The part of CARD.md about signals: added where a bundle learns to heed them, taken out where it no longer does."""

from __future__ import annotations

from models.decision.policy import PolicyFile
from models.training.card import card_table, threshold_sources, with_section, without_section

_HEAD = "## Signals"


def with_signals(card: str, policy: PolicyFile) -> str:
    """The card with what the policy says of signals, in place of what it said before."""
    return with_section(card, _HEAD, _section(policy))


def without_signals(card: str) -> str:
    """The card as it was before signals were learnt."""
    return without_section(card, _HEAD)


def _section(policy: PolicyFile) -> str:
    rules = policy.signals
    assert rules is not None  # the caller has just written them
    learnt = rules.calibration
    return "\n\n".join(
        [
            "What is known of the author and how people behave move the answer where they beat the content's by "
            f"{rules.margin:g} nats of log-odds. Videos with any such signal have thresholds of their own, at the same "
            f"target; the tables above are of content alone. Learnt from {learnt['fitted_items']:,} videos, certified "
            f"and judged on {learnt['items']:,} others, each as it was known at some moment:",
            card_table(
                ("", "level 2", "calibration error", "mean loss"),
                [
                    (name, f"{each['accuracy']:.3f}", f"{each['ece']:.3f}", f"{each['loss']:.3f}")
                    for name, each in (
                        ("content alone", learnt["content"]),
                        ("with signals", learnt["signals"]),
                    )
                ],
            ),
            card_table(
                ("level", "own threshold", "shared threshold", "never"),
                [
                    (level.replace("level", "level "), *threshold_sources(learnt[level]))
                    for level in ("level2", "level1")
                ],
            ),
            f"At least {rules.reported.count} reports by {rules.reported.share:.0%} of the viewers call people.",
        ]
    )
