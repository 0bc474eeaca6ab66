"""Every runtime there is: each module of this package that defines SPEC. Adding one is adding a file."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Literal

import models.runtimes as package
from models.bundle import Bundle
from models.runtimes.base import Runtime

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """One way to run a bundle.

    precisions(): what it offers on this machine. load(bundle, precision, threads) raises UserError. version(): what a
    remembered timing depends on. serves: False for the oracle, which is only compared with.
    """

    name: str
    precisions: Callable[[], tuple[Precision, ...]]
    load: Callable[[Bundle, Precision, int], Runtime]
    version: Callable[[], str]
    serves: bool = True


@cache
def runtimes() -> dict[str, RuntimeSpec]:
    """Name -> runtime, in order of name. One whose library is not installed is left out."""
    specs = []
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        try:
            spec = getattr(import_module(module.name), "SPEC", None)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("models", "schemas"):
                raise
            continue
        if isinstance(spec, RuntimeSpec):
            specs.append(spec)
    return {spec.name: spec for spec in sorted(specs, key=lambda spec: spec.name)}
