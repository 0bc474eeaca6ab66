"""Architectures, found by scanning: each module here has `Config`, `Model` and `PRESETS`: docs/models.md."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from schemas.errors import UserError

if TYPE_CHECKING:
    from models.architectures.base import Architecture, Preset

TRAIN = "reelsort train"  # what makes most of them

_PARTS = frozenset({"base", "late_fusion", "parts", "plans"})


def names() -> tuple[str, ...]:
    """Every architecture there is; imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _PARTS))


def presets(name: str) -> Mapping[str, Preset]:
    """The named architecture's presets. Raises UserError for an unknown name or missing torch."""
    found: Mapping[str, Preset] = _module(name).PRESETS
    return found


def preset_of(name: str, preset: str) -> Preset:
    """One of them. Raises UserError where there is none of that name."""
    known = presets(name)
    if preset not in known:
        raise UserError(f"{name} has no preset {preset}", f"choose one of: {', '.join(known)}")
    return known[preset]


def made_by(name: str) -> str:
    """The command that makes a bundle of the named architecture. Raises UserError as presets() does."""
    command: str = _module(name).Model.made_by
    return command


def sizes_of(name: str) -> Mapping[str, Any]:
    """The fields of the named architecture's Config and their types. Raises UserError as presets() does."""
    return get_type_hints(_module(name).Config)


def default_of(name: str, size: str) -> Any:
    """What the named architecture's Config has for a field that is not given."""
    return next(field.default for field in fields(_module(name).Config) if field.name == size)


def build(name: str, config: Mapping[str, Any]) -> Architecture:
    """The named architecture with random weights; `config` is what bundle.json calls architecture_config.

    Raises UserError for an unknown name, settings that do not fit the architecture, or missing torch.
    """
    module = _module(name)
    try:
        settings = TypeAdapter(module.Config).validate_python(dict(config))
        if module.Model.takes_clips != (settings.clip is not None):
            needed = "clips: give the frame plan a `clip`" if module.Model.takes_clips else "single frames: no `clip`"
            raise UserError(f"{name} takes {needed}", "change the frame plan")
        model: Architecture = module.Model(settings)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"the configuration does not fit {name}: {where}: {first['msg']}", "compare it with the Config class"
        ) from error
    except ValueError as error:
        raise UserError(f"the configuration does not fit {name}: {error}", "change its sizes") from error
    return model


def _module(name: str) -> ModuleType:
    if name not in names():
        raise UserError(f"there is no architecture named {name}", f"choose one of: {', '.join(names())}")
    if importlib.util.find_spec("torch") is None:
        raise UserError("torch is not installed", "pip install 'reelsort[train]'")
    return importlib.import_module(f"{__name__}.{name}")
