"""Architectures, found by scanning: a module here that has `Config` and `Model` is an architecture of its own name."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from schemas.errors import UserError

if TYPE_CHECKING:
    from models.architectures.base import Architecture

_PARTS = frozenset({"base", "layers"})


def names() -> tuple[str, ...]:
    """Every architecture there is; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _PARTS))


def build(name: str, config: Mapping[str, Any]) -> Architecture:
    """The named architecture with random weights; `config` is what bundle.json calls architecture_config.

    Raises UserError for an unknown name, a setting that the architecture does not have or lacks, or missing torch.
    """
    if name not in names():
        raise UserError(f"there is no architecture named {name}", f"choose one of: {', '.join(names())}")
    if importlib.util.find_spec("torch") is None:
        raise UserError("torch is not installed", "pip install 'reelsort[train]'")
    module = importlib.import_module(f"{__name__}.{name}")
    try:
        settings = module.Config(**config)
    except TypeError as error:
        raise UserError(
            f"the configuration does not fit {name}: {error}", "compare it with the Config class"
        ) from error
    model: Architecture = module.Model(settings)
    return model
