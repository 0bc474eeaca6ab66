"""Which of two labels of one video stands. Pure; the rows are locked by whoever asks."""

from __future__ import annotations

from typing import NamedTuple


class Standing(NamedTuple):
    """What a label's place rests on.

    promotion_epoch: the promotion under which a model decided, raised by every promote and rollback; a rescore inherits
    that of the label it moves. human: a reviewer said so. level1, level2: the label's category ids, for contradicts().
    """

    revision: int
    promotion_epoch: int
    human: bool = False
    level1: str | None = None
    level2: str | None = None


def supersedes(current: Standing | None, candidate: Standing) -> bool:
    """Whether `candidate` takes the place of `current` (None: no label yet).

    A newer revision of the video beats an older one; within a revision a human label beats every model's; among models
    the higher promotion epoch wins, so a rollback beats the model it takes back. Of equal rank the one decided later
    stands: it was decided under the row lock, from newer evidence or by a later reviewer.
    """
    return current is None or _rank(candidate) >= _rank(current)


def contradicts(human: Standing, candidate: Standing) -> bool:
    """Whether a model's `candidate` calls a human label into question, so that people look again.

    True where it names another category for the same revision (the human label stands meanwhile) or for a newer one
    (which people then confirm). A level that is not named contradicts nothing.
    """
    if not human.human or candidate.human or candidate.revision < human.revision:
        return False
    pairs = ((human.level1, candidate.level1), (human.level2, candidate.level2))
    return any(said is not None and now is not None and said != now for said, now in pairs)


def _rank(label: Standing) -> tuple[int, bool, int]:
    # epochs do not rank reviewers: a correction made under an older model is still the later word
    return (label.revision, label.human, 0 if label.human else label.promotion_epoch)
