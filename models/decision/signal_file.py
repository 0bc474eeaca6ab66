"""signals.npz: the weights of a signal head, as plain arrays. No pickles: nothing in it can run."""

from __future__ import annotations

import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decision.types import SignalHead
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy

SIGNALS = "signals.npz"
MEND_SIGNALS = "run `reelsort train-signals` on the bundle again, or copy it again whole"

_FORMAT = 1
_ARRAYS = ("base", "audience_base", "comment_base", "comment_grams")
_NUMBERS = tuple(field.name for field in fields(SignalHead) if field.name not in _ARRAYS)
_ABOVE_ZERO = frozenset(name for name in _NUMBERS if name.endswith(("pseudo", "bound")) or name == "content")


def save_signal_head(path: Path, head: SignalHead, taxonomy: Taxonomy) -> None:
    """Write signals.npz whole or not at all; equal heads give equal bytes."""
    partial = path.with_suffix(".partial")
    arrays = {name: np.asarray(getattr(head, name)) for name in (*_NUMBERS, *_ARRAYS)}
    with partial.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, format=np.array(_FORMAT), taxonomy_id=np.array(taxonomy.id), **arrays
        )
    partial.replace(path)


def load_signal_head(path: Path, taxonomy: Taxonomy) -> SignalHead:
    """Raises UserError where the file cannot be read, is something else, or is for another taxonomy."""
    try:
        arrays = _read(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}", MEND_SIGNALS) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a signal head: {error}", MEND_SIGNALS) from error
    for name in ("content_top", "entropy_slope"):  # files of before these were learnt do without
        arrays.setdefault(name, np.array(0.0))
    found_format, taxonomy_id = (arrays.pop(name, None) for name in ("format", "taxonomy_id"))
    if found_format is None or not np.array_equal(found_format, _FORMAT):
        raise UserError(f"{path} is not a signal head of format {_FORMAT}", MEND_SIGNALS)
    if str(taxonomy_id) != taxonomy.id:
        raise UserError(f"{path} is for taxonomy {taxonomy_id}, the bundle's is {taxonomy.id}", MEND_SIGNALS)
    if missing := [name for name in (*_NUMBERS, *_ARRAYS) if name not in arrays]:
        raise UserError(f"{path} is not a signal head: it has no {missing[0]}", MEND_SIGNALS)
    for name in (*_NUMBERS, *_ARRAYS):
        _check(path, name, arrays[name], taxonomy)
    return SignalHead(
        **{name: float(arrays[name]) for name in _NUMBERS},
        base=arrays["base"].astype(np.float64),
        audience_base=arrays["audience_base"].astype(np.float64),
        comment_base=arrays["comment_base"].astype(np.float64),
        comment_grams=arrays["comment_grams"].astype(np.float16),
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    stored = np.load(path, allow_pickle=False)
    if not isinstance(stored, np.lib.npyio.NpzFile):
        raise ValueError("it holds a single array")
    with stored:
        return {name: stored[name] for name in stored.files}


def _check(path: Path, name: str, array: NDArray[Any], taxonomy: Taxonomy) -> None:
    numeric = np.issubdtype(array.dtype, np.floating)
    if not numeric or not np.isfinite(array).all():
        raise UserError(f"{path} is not a signal head: {name} is not made of finite numbers", MEND_SIGNALS)
    if name == "comment_grams":
        fits = array.ndim == 2 and array.shape[0] > 0 and array.shape[1] == len(taxonomy.level2)
    elif name in _ARRAYS:
        classes = taxonomy.level2 if name == "comment_base" else taxonomy.level1
        fits = array.shape == (len(classes),) and bool((array > 0.0).all())
    else:
        fits = array.ndim == 0 and float(array) >= 0.0 and (float(array) > 0.0 or name not in _ABOVE_ZERO)
    if not fits:
        raise UserError(f"{path} is not a signal head: {name} has a wrong shape or value", MEND_SIGNALS)
