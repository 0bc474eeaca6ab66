"""Oracle ceilings: how many items a perfect reader of some modalities alone could label right.

The reader knows the design and all noise rates, sees each modality's factor as the item shows it (a hidden one tells
nothing, an off-topic phrase looks like any other), and answers with the Bayes-optimal class,

    argmax_c  P(c) * prod_m P(seen_m | c),

over the modalities m it is given. Ceilings are the share of right answers on the items themselves. Words burned into
pictures count as text: they are what character recognition reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.synthetic.design import CLASSES, TOPICS, Noise, class_prior
from models.synthetic.language import FieldState
from models.synthetic.sampling import Item

MODALITIES = ("text", "frames", "order", "audio")
"""frames: single pictures, which show the shape. order: the frames' sequence, which shows the direction."""

_CLASS_INDEX = {design.id: index for index, design in enumerate(CLASSES)}
_FACTORS = {
    "frames": ("seen_shape", "shape"),
    "order": ("seen_direction", "direction"),
    "audio": ("heard_tone", "tone"),
}


def ceilings(items: Sequence[Item], noise: Noise) -> dict[str, float]:
    """Level-2 accuracy from each modality alone, from all but each, and from all.

    'all but frames' is without order too: there is no order of no frames.
    """
    seen = {modality: np.stack([_log_likelihood(item, modality, noise) for item in items]) for modality in MODALITIES}
    truth = np.array([_CLASS_INDEX[item.truth] for item in items])

    def accuracy(modalities: Iterable[str]) -> float:
        scores = np.log(class_prior()) + np.sum([seen[modality] for modality in modalities], axis=0)
        return round(float((scores.argmax(1) == truth).mean()), 4)

    return {
        "text": accuracy(["text"]),
        "frames": accuracy(["frames"]),
        "frames in order": accuracy(["frames", "order"]),
        "audio": accuracy(["audio"]),
        "all but text": accuracy(["frames", "order", "audio"]),
        "all but frames": accuracy(["text", "audio"]),
        "all but order": accuracy(["text", "frames", "audio"]),
        "all but audio": accuracy(["text", "frames", "order"]),
        "all": accuracy(MODALITIES),
    }


def _log_likelihood(item: Item, modality: str, noise: Noise) -> NDArray[np.float64]:
    """[C]: log P(what the item shows in this modality | class), up to a constant."""
    if modality == "text":
        return np.asarray(np.sum([_field_log_likelihood(item, name, noise) for name in noise.fields], axis=0))
    seen_key, factor = _FACTORS[modality]
    seen = item.factors[seen_key]
    if seen is None:
        return np.zeros(len(CLASSES))
    with np.errstate(divide="ignore"):
        fits: NDArray[np.float64] = np.log(np.array([getattr(design, factor) == seen for design in CLASSES], float))
    return fits


def _field_log_likelihood(item: Item, name: str, noise: Noise) -> NDArray[np.float64]:
    rates = noise.fields[name]
    state, about = FieldState(item.factors[name]["state"]), item.factors[name]["about"]
    if state is FieldState.CLASS:
        likelihood = np.array([design.id == about for design in CLASSES], float)
    elif state in (FieldState.TOPIC, FieldState.OFF_TOPIC):
        own = rates.informative * (1 - rates.specific)
        other = rates.off_topic / (len(TOPICS) - 1)
        likelihood = np.array([own if design.topic == about else other for design in CLASSES])
    else:
        likelihood = np.ones(len(CLASSES))
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = np.log(likelihood)
    return found
